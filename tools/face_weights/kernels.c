/* Element-wise loops of dense.py over rows of bfloat16 channels; the names and arguments are those of its functions.
   Every row is `channels` values long and `*_stride` values after the one before. Sums are float32. */
#include <stdint.h>

typedef uint16_t bf16;

static inline float up(bf16 x) {
    union { uint32_t bits; float value; } u = {(uint32_t)x << 16};
    return u.value;
}

static inline bf16 down(float x) { /* round to nearest, ties to even */
    union { float value; uint32_t bits; } u = {x};
    return (bf16)((u.bits + 0x7fff + ((u.bits >> 16) & 1)) >> 16);
}

#define ROWS for (long r = 0; r < rows; r++)
#define CHANNELS for (long c = 0; c < channels; c++)

void activate(long rows, long channels, bf16 *restrict out, long out_stride, const bf16 *restrict x, long x_stride,
              const float *restrict scale, const float *restrict shift) {
    ROWS CHANNELS {
        float active = up(x[r * x_stride + c]) * scale[c] + shift[c];
        out[r * out_stride + c] = down(active > 0 ? active : 0);
    }
}

void activate_backward(long rows, long channels, bf16 *restrict out, long out_stride, const bf16 *restrict grad,
                       long grad_stride, const bf16 *restrict x, long x_stride, const float *restrict scale,
                       const float *restrict shift, float *restrict sums) {
    ROWS CHANNELS {
        float value = up(x[r * x_stride + c]);
        float g = value * scale[c] + shift[c] > 0 ? up(grad[r * grad_stride + c]) : 0;
        out[r * out_stride + c] = down(g * scale[c]);
        sums[c] += g;
        sums[channels + c] += g * value;
    }
}

void activate_add(long rows, long channels, bf16 *restrict out, long out_stride, const bf16 *restrict grad,
                  long grad_stride, const bf16 *restrict x, long x_stride, const float *restrict scale,
                  const float *restrict shift, bf16 *restrict total, long total_stride, float *restrict sums) {
    ROWS CHANNELS {
        float value = up(x[r * x_stride + c]);
        float active = value * scale[c] + shift[c];
        float g = active > 0 ? up(grad[r * grad_stride + c]) : 0;
        out[r * out_stride + c] = down(active > 0 ? active : 0);
        total[r * total_stride + c] = down(up(total[r * total_stride + c]) + g * scale[c]);
        sums[c] += g;
        sums[channels + c] += g * value;
    }
}

void moments(long rows, long channels, const bf16 *restrict x, long x_stride, float *restrict sums) {
    ROWS CHANNELS {
        float value = up(x[r * x_stride + c]);
        sums[c] += value;
        sums[channels + c] += value * value;
    }
}

void normalise(long rows, long channels, bf16 *restrict out, long out_stride, const bf16 *restrict x, long x_stride,
               const float *restrict mean, const float *restrict inverse) {
    ROWS CHANNELS out[r * out_stride + c] = down((up(x[r * x_stride + c]) - mean[c]) * inverse[c]);
}

void products(long rows, long channels, const bf16 *restrict grad, long grad_stride, const bf16 *restrict x,
              long x_stride, float *restrict sums) {
    ROWS CHANNELS {
        float g = up(grad[r * grad_stride + c]);
        sums[c] += g;
        sums[channels + c] += g * up(x[r * x_stride + c]);
    }
}

void normalise_backward(long rows, long channels, bf16 *out, long out_stride, const bf16 *grad, long grad_stride,
                        const bf16 *restrict x, long x_stride, const float *restrict mean,
                        const float *restrict slope, const float *restrict inverse) {
#pragma GCC ivdep
    ROWS {
#pragma GCC ivdep
        CHANNELS out[r * out_stride + c] =
            down((up(grad[r * grad_stride + c]) - mean[c] - up(x[r * x_stride + c]) * slope[c]) * inverse[c]);
    }
}
