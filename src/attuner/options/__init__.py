"""Every option of a recipe, a file for each section: its default, its unit, its words of help."""
