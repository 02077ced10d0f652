// The kernels that training on a processor gains most from, for bf16 and fp32 alike.
//
// Plain C functions over raw memory, called through ctypes: no torch headers, so that building
// takes seconds. Everything is computed in fp32; bf16 is only how tensors lie in memory.
// `attuner.kernels` checks types, shapes and strides before it calls.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

struct bf16 {
  uint16_t bits;
};

inline float load(float x) { return x; }
inline float load(bf16 x) {
  uint32_t bits = (uint32_t)x.bits << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

inline void store(float* place, float value) { *place = value; }
inline void store(bf16* place, float value) {  // to nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
  place->bits = (uint16_t)(is_nan ? 0x7fc0 : rounded);
}

// e^x, relative error 1e-7 (Cephes' polynomial): the compiler makes vectors of it.
inline float fast_exp(float x) {
  x = std::min(std::max(x, -87.0f), 88.0f);
  float n = std::nearbyint(x * 1.44269504f);
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t power = ((int32_t)n + 127) << 23;
  float scale;
  std::memcpy(&scale, &power, 4);
  return p * scale;
}

// Logits of N rows become the gradient of the summed loss; the loss of each row is written out.
template <class T>
void cross_entropy(T* logits, const int64_t* labels, const float* bias, float* losses, int64_t rows,
                   int64_t classes, int64_t ignored, float smoothing, int with_grad) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    T* z = logits + row * classes;
    if (labels[row] == ignored) {
      losses[row] = 0;
      if (with_grad) std::memset((void*)z, 0, classes * sizeof(T));
      continue;
    }
    if (bias) {
#pragma omp simd
      for (int64_t i = 0; i < classes; i++) store(z + i, load(z[i]) + bias[i]);
    }
    float largest = -INFINITY;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < classes; i++) largest = std::max(largest, load(z[i]));
    float sum = 0, total = 0;
    if (smoothing != 0) {
#pragma omp simd reduction(+ : total)
      for (int64_t i = 0; i < classes; i++) total += load(z[i]);
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < classes; i++) sum += fast_exp(load(z[i]) - largest);
    const float norm = largest + std::log(sum);
    const float target = load(z[labels[row]]);
    losses[row] = norm - (1 - smoothing) * target - smoothing * total / classes;
    // An infinite or NaN logit must be seen, whatever fast_exp makes of it.
    if (!std::isfinite(largest)) losses[row] = NAN;
    if (!with_grad) continue;
    const float even = smoothing / classes;
#pragma omp simd
    for (int64_t i = 0; i < classes; i++) store(z + i, fast_exp(load(z[i]) - norm) - even);
    store(z + labels[row], fast_exp(target - norm) - even - (1 - smoothing));
  }
}

// One AdamW step (Loshchilov and Hutter 2019) of `n` weights, and their copy in bf16.
template <class G>
void adamw(float* weights, const G* grads, float* mean, float* square, bf16* copy, int64_t n,
           float rate, float beta1, float beta2, float eps, float decay, float correction1,
           float correction2, float grad_scale) {
  const float step = rate / correction1, root = 1 / std::sqrt(correction2);
  const float kept = 1 - rate * decay;
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < n; i++) {
    float g = load(grads[i]) * grad_scale;
    float m = mean[i] + (1 - beta1) * (g - mean[i]);
    float v = beta2 * square[i] + (1 - beta2) * g * g;
    mean[i] = m;
    square[i] = v;
    float w = weights[i] * kept - step * m / (std::sqrt(v) * root + eps);
    weights[i] = w;
    if (copy) store(copy + i, w);
  }
}

// In blocks, so that the sum does not depend on the number of threads.
template <class G>
double sum_of_squares(const G* grads, int64_t n) {
  const int64_t size = 16384, blocks = (n + size - 1) / size;
  std::vector<double> sums(blocks);
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < blocks; block++) {
    float sum = 0;
    const int64_t end = std::min(n, (block + 1) * size);
#pragma omp simd reduction(+ : sum)
    for (int64_t i = block * size; i < end; i++) sum += load(grads[i]) * load(grads[i]);
    sums[block] = sum;
  }
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

// Dropout's factor of one number: from a hash of where it stands, so that the backward pass finds
// the same again without keeping a mask.
struct Dropout {
  uint32_t seed, threshold;
  float scale;
  Dropout(int64_t seed, float share)
      : seed((uint32_t)seed),
        threshold((uint32_t)(share * 4294967295.0)),
        scale(1 / (1 - share)) {}
  inline float operator()(uint32_t item, uint32_t query, uint32_t key) const {
    if (!threshold) return 1;
    uint32_t x = seed ^ (item * 0x9E3779B1u) ^ (query * 0x85EBCA77u) ^ (key * 0xC2B2AE3Du);
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return x >= threshold ? scale : 0;
  }
};

template <class T>
void dropout(const T* input, T* output, int64_t n, Dropout factor) {
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < n; i++)
    store(output + i, load(input[i]) * factor(0, (uint32_t)(i >> 32), (uint32_t)i));
}

// Where the sequences lie in the packed rows, and how their tokens are laid out.
struct Packed {
  const int32_t *query_starts, *key_starts;
  int64_t sequences, heads, head_size, queries;
  float scale;
  int causal;
};

// Sixteen numbers at a time; the compiler makes of it what the processor has.
constexpr int64_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(4 * kLanes)));

inline int64_t num_lanes(int64_t n) { return (n + kLanes - 1) / kLanes; }
inline float* as_floats(std::vector<Lanes>& lanes) { return (float*)lanes.data(); }

// One head of some tokens as fp32, each row filled up with zeros: [token][size].
template <class T>
void load_rows(const T* rows, int64_t num, int64_t width, int64_t size, std::vector<Lanes>& out) {
  const int64_t padded = num_lanes(size) * kLanes;
  out.resize(num * num_lanes(size));
  float* to = as_floats(out);
  for (int64_t i = 0; i < num; i++) {
    for (int64_t d = 0; d < size; d++) to[i * padded + d] = load(rows[i * width + d]);
    for (int64_t d = size; d < padded; d++) to[i * padded + d] = 0;
  }
}

// The same the other way round, so that products with all tokens go side by side: [size][token].
void transpose(const std::vector<Lanes>& rows, int64_t num, int64_t size, std::vector<Lanes>& out) {
  const int64_t from_width = num_lanes(size) * kLanes, to_width = num_lanes(num) * kLanes;
  out.assign(size * num_lanes(num), Lanes{});
  const float* from = (const float*)rows.data();
  float* to = as_floats(out);
  for (int64_t i = 0; i < num; i++)
    for (int64_t d = 0; d < size; d++) to[d * to_width + i] = from[i * from_width + d];
}

// out[token] = sum over d of row[d] * columns[d][token]
inline void multiply(const float* row, const std::vector<Lanes>& columns, int64_t size,
                     int64_t lanes, Lanes* out) {
  for (int64_t block = 0; block < lanes; block++) {
    Lanes sums[4] = {};  // four chains of additions, so that none waits for itself
    int64_t d = 0;
    for (; d + 4 <= size; d += 4)
      for (int64_t k = 0; k < 4; k++) sums[k] += row[d + k] * columns[(d + k) * lanes + block];
    for (; d < size; d++) sums[0] += row[d] * columns[d * lanes + block];
    out[block] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
}

inline void add_scaled(Lanes* to, const Lanes* from, float factor, int64_t lanes) {
  for (int64_t block = 0; block < lanes; block++) to[block] += factor * from[block];
}

template <class T>
void store_row(T* place, const Lanes* row, int64_t size) {
  const float* from = (const float*)row;
  for (int64_t d = 0; d < size; d++) store(place + d, from[d]);
}

// One head of one sequence: its tokens, and room for what is computed with them.
struct Item {
  int64_t head, first, num, first_key, num_keys, size, width, lanes, key_lanes;
  std::vector<Lanes> queries, keys, values, key_columns, value_columns;

  template <class T>
  void read(int64_t item, const Packed& p, const T* query, const T* key, const T* value) {
    const int64_t sequence = item / p.heads;
    head = item % p.heads;
    first = p.query_starts[sequence];
    num = p.query_starts[sequence + 1] - first;
    first_key = p.key_starts[sequence];
    num_keys = p.key_starts[sequence + 1] - first_key;
    size = p.head_size;
    width = p.heads * size;
    lanes = num_lanes(size);
    key_lanes = num_lanes(num_keys);
    load_rows(query + place(first), num, width, size, queries);
    load_rows(key + place(first_key), num_keys, width, size, keys);
    load_rows(value + place(first_key), num_keys, width, size, values);
    transpose(keys, num_keys, size, key_columns);
  }
  int64_t place(int64_t token) const { return token * width + head * size; }
};

// softmax(q·k·scale)·v of each sequence on its own; `norms` keeps each softmax's logarithm.
template <class T>
void attention_forward(const T* query, const T* key, const T* value, T* output, float* norms,
                       Packed p, Dropout dropout) {
#pragma omp parallel
  {
    Item it;
    std::vector<Lanes> scores, out;
#pragma omp for schedule(dynamic, 8)
    for (int64_t item = 0; item < p.sequences * p.heads; item++) {
      it.read(item, p, query, key, value);
      scores.resize(it.key_lanes);
      for (int64_t i = 0; i < it.num; i++) {
        const int64_t seen = p.causal ? i + 1 : it.num_keys;
        multiply((float*)&it.queries[i * it.lanes], it.key_columns, it.size, it.key_lanes,
                 scores.data());
        float* weights = as_floats(scores);
        float largest = -INFINITY, sum = 0;
#pragma omp simd reduction(max : largest)
        for (int64_t t = 0; t < seen; t++) largest = std::max(largest, weights[t] *= p.scale);
#pragma omp simd reduction(+ : sum)
        for (int64_t t = 0; t < seen; t++) sum += weights[t] = fast_exp(weights[t] - largest);
        out.assign(it.lanes, Lanes{});
        for (int64_t t = 0; t < seen; t++)
          add_scaled(out.data(), &it.values[t * it.lanes], weights[t] / sum * dropout(item, i, t),
                     it.lanes);
        store_row(output + it.place(it.first + i), out.data(), it.size);
        norms[it.head * p.queries + it.first + i] = largest + std::log(sum);
      }
    }
  }
}

template <class T>
void attention_backward(const T* grad, const T* query, const T* key, const T* value,
                        const T* output, const float* norms, T* grad_query, T* grad_key,
                        T* grad_value, Packed p, Dropout dropout) {
#pragma omp parallel
  {
    Item it;
    std::vector<Lanes> grads, outputs, scores, slopes, query_grad, key_grads, value_grads;
#pragma omp for schedule(dynamic, 8)
    for (int64_t item = 0; item < p.sequences * p.heads; item++) {
      it.read(item, p, query, key, value);
      transpose(it.values, it.num_keys, it.size, it.value_columns);
      load_rows(grad + it.place(it.first), it.num, it.width, it.size, grads);
      load_rows(output + it.place(it.first), it.num, it.width, it.size, outputs);
      scores.resize(it.key_lanes);
      slopes.resize(it.key_lanes);
      key_grads.assign(it.num_keys * it.lanes, Lanes{});
      value_grads.assign(it.num_keys * it.lanes, Lanes{});
      for (int64_t i = 0; i < it.num; i++) {
        const int64_t seen = p.causal ? i + 1 : it.num_keys, row = i * it.lanes;
        const float *g = (float*)&grads[row], *o = (float*)&outputs[row];
        float inner = 0;
#pragma omp simd reduction(+ : inner)
        for (int64_t d = 0; d < it.size; d++) inner += g[d] * o[d];
        multiply((float*)&it.queries[row], it.key_columns, it.size, it.key_lanes, scores.data());
        multiply(g, it.value_columns, it.size, it.key_lanes, slopes.data());
        float *weights = as_floats(scores), *slope = as_floats(slopes);
        const float norm = norms[it.head * p.queries + it.first + i];
#pragma omp simd
        for (int64_t t = 0; t < seen; t++) {
          const float weight = fast_exp(weights[t] * p.scale - norm);
          const float kept = dropout((uint32_t)item, (uint32_t)i, (uint32_t)t);
          slope[t] = weight * (slope[t] * kept - inner) * p.scale;
          weights[t] = weight * kept;
        }
        query_grad.assign(it.lanes, Lanes{});
        for (int64_t t = 0; t < seen; t++) {
          add_scaled(&value_grads[t * it.lanes], &grads[row], weights[t], it.lanes);
          add_scaled(&key_grads[t * it.lanes], &it.queries[row], slope[t], it.lanes);
          add_scaled(query_grad.data(), &it.keys[t * it.lanes], slope[t], it.lanes);
        }
        store_row(grad_query + it.place(it.first + i), query_grad.data(), it.size);
      }
      for (int64_t t = 0; t < it.num_keys; t++) {
        store_row(grad_key + it.place(it.first_key + t), &key_grads[t * it.lanes], it.size);
        store_row(grad_value + it.place(it.first_key + t), &value_grads[t * it.lanes], it.size);
      }
    }
  }
}

}  // namespace

#define ATTUNER_ATTENTION(T)                                                                       \
  void attention_forward_##T(const T* query, const T* key, const T* value, T* output,              \
                             float* norms, const Packed* packed, int64_t seed, float share) {      \
    attention_forward(query, key, value, output, norms, *packed, Dropout(seed, share));            \
  }                                                                                                \
  void attention_backward_##T(const T* grad, const T* query, const T* key, const T* value,         \
                              const T* output, const float* norms, T* grad_query, T* grad_key,     \
                              T* grad_value, const Packed* packed, int64_t seed, float share) {    \
    attention_backward(grad, query, key, value, output, norms, grad_query, grad_key, grad_value,   \
                       *packed, Dropout(seed, share));                                             \
  }

#define ATTUNER_KERNELS(T)                                                                         \
  ATTUNER_ATTENTION(T)                                                                             \
  void cross_entropy_##T(T* logits, const int64_t* labels, const float* bias, float* losses,       \
                         int64_t rows, int64_t classes, int64_t ignored, float smoothing,          \
                         int with_grad) {                                                          \
    cross_entropy(logits, labels, bias, losses, rows, classes, ignored, smoothing, with_grad);     \
  }                                                                                                \
  void adamw_##T(float* weights, const T* grads, float* mean, float* square, void* copy,           \
                 int64_t n, float rate, float beta1, float beta2, float eps, float decay,          \
                 float correction1, float correction2, float grad_scale) {                         \
    adamw(weights, grads, mean, square, (bf16*)copy, n, rate, beta1, beta2, eps, decay,            \
          correction1, correction2, grad_scale);                                                   \
  }                                                                                                \
  void dropout_##T(const T* input, T* output, int64_t n, int64_t seed, float share) {              \
    dropout(input, output, n, Dropout(seed, share));                                               \
  }                                                                                                \
  double sum_of_squares_##T(const T* grads, int64_t n) { return sum_of_squares(grads, n); }

extern "C" {
ATTUNER_KERNELS(float)
ATTUNER_KERNELS(bf16)
}
