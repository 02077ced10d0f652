"""Reading, splitting and inspecting examples. Knows no model."""
