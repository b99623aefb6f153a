/* The mixing core and the range coder in plain C: the peer of triptych_kernels.contextmix and .rangecoder.
 *
 * The same counters, weights, shifts and coder, so that streams are equal byte for byte; no intrinsics. Compiled
 * once for each number of inputs, with -DN_INPUTS and -DN_SETS; tables come from the caller. Sums and products of
 * logits and weights wrap (-fwrapv), as they do in the kernels.
 */
#include <stdint.h>

#define WIDTH (8 * (N_INPUTS / 8 + 1))
#define LOGIT_MAX 3071
#define BIAS 100
#define RATE 80
#define RATE_MIN 16
#define CONTEXTS 4096

static inline __attribute__((always_inline)) int64_t code(
    uint8_t *restrict bits, int64_t n_bits, uint8_t *restrict stream, int64_t stream_len,
    uint32_t *restrict counters, int32_t *restrict weights, const int32_t *restrict row_starts,
    const int32_t *restrict stretch, const int32_t *restrict squash, const int encoding)
{
    uint32_t low = 0, high = 0xFFFFFFFF, window = 0;
    int64_t pos = 0;
    uint64_t history = 0;
    uint32_t at[N_INPUTS], seen[WIDTH] = {0};
    int32_t logits[WIDTH] = {0};
    logits[WIDTH - 1] = BIAS;
    if (!encoding)
        for (; pos < 4; pos++)
            window = window << 8 | (pos < stream_len ? stream[pos] : 0);
    for (int64_t t = 0; t < n_bits; t++) {
        for (int i = 0; i < N_INPUTS; i++) {
            uint64_t context = history & ((2ull << i) - 1);
            at[i] = i * CONTEXTS + ((context * 0x9E3779B1ull) >> 7 & (CONTEXTS - 1));
            seen[i] = counters[at[i]];
            logits[i] = stretch[seen[i] >> 20];
        }
        int32_t *row[N_SETS];
        for (int s = 0; s < N_SETS; s++)
            row[s] = weights + row_starts[s] + (history >> 4 * s & 15) * WIDTH;
        int32_t sum = 0;
        for (int i = 0; i < WIDTH; i++) {
            int32_t weight = 0;
            for (int s = 0; s < N_SETS; s++)
                weight += row[s][i];
            sum += (weight >> 3) * logits[i];
        }
        int32_t logit = sum >> 13;
        logit = logit < -LOGIT_MAX ? -LOGIT_MAX : logit > LOGIT_MAX ? LOGIT_MAX : logit;
        int32_t p = squash[logit + LOGIT_MAX + 1];
        uint32_t p16 = p < 2 ? 2 : p > 65534 ? 65534 : p;
        uint32_t width = high - low;
        uint32_t mid = low + (width >> 16) * p16 + ((width & 0xFFFF) * p16 >> 16);
        int bit;
        if (encoding)
            bit = bits[t];
        else
            bits[t] = bit = window <= mid;
        if (bit)
            high = mid;
        else
            low = mid + 1;
        while (!((low ^ high) & 0xFF000000)) {
            if (encoding) {
                if (pos < stream_len)
                    stream[pos] = high >> 24;
            } else {
                window = window << 8 | (pos < stream_len ? stream[pos] : 0);
            }
            pos++;
            low <<= 8;
            high = high << 8 | 255;
        }
        int32_t step = ((bit << 16) - p) * RATE >> 8;
        for (int s = 0; s < N_SETS; s++) {
            const int shift = s == 0 ? 14 : 15;
            for (int i = 0; i < WIDTH; i++)
                row[s][i] += (logits[i] * step + (1 << (shift - 1))) >> shift;
        }
        int32_t target = bit ? (1 << 20) - 1 : 0;
        for (int i = 0; i < N_INPUTS; i++) {
            int32_t rate = seen[i] & 4095, q = seen[i] >> 12;
            q += ((target - q) >> 2) * rate >> 10;
            rate = rate - 1 - (rate * rate >> 12);
            counters[at[i]] = (uint32_t)q << 12 | (rate > RATE_MIN ? rate : RATE_MIN);
        }
        history = history << 1 | bit;
    }
    if (encoding)
        for (int i = 0; i < 4; i++, pos++, low <<= 8)
            if (pos < stream_len)
                stream[pos] = low >> 24;
    return pos;
}

int64_t encode(uint8_t *bits, int64_t n_bits, uint8_t *stream, int64_t stream_len, uint32_t *counters,
               int32_t *weights, const int32_t *row_starts, const int32_t *stretch, const int32_t *squash)
{
    return code(bits, n_bits, stream, stream_len, counters, weights, row_starts, stretch, squash, 1);
}

int64_t decode(uint8_t *bits, int64_t n_bits, uint8_t *stream, int64_t stream_len, uint32_t *counters,
               int32_t *weights, const int32_t *row_starts, const int32_t *stretch, const int32_t *squash)
{
    return code(bits, n_bits, stream, stream_len, counters, weights, row_starts, stretch, squash, 0);
}
