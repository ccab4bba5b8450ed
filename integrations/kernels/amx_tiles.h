// What a tile of AMX can do with bf16: configure, multiply, bring keys and values into its order; and the two functions of floats.

#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

using bf16 = uint16_t;

constexpr int TILE_ROWS = 16, BLOCK = 32;           // rows of a tile; rows and columns of a block of two by two tiles
constexpr int TILE = TILE_ROWS * BLOCK;             // numbers of a tile

namespace {

struct alignas(64) TileConfig {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};

void configure() {
    TileConfig config;
    for (int tile = 0; tile < 8; tile++) config.row_bytes[tile] = 64, config.rows[tile] = TILE_ROWS;
    _tile_loadconfig(&config);
}

inline __m512 floats(const bf16* from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_load_si256((const __m256i*)from)), 16));
}

inline void store(bf16* to, __m512 low, __m512 high) {
    _mm512_store_si512((void*)to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

// x times the share of the normal distribution below x. That share less a half is an odd polynomial of degree 15 up to 4, where
// it is taken to be a half; fitted by least largest error, which is 3e-5. What follows is rounded to bf16, 2e-3 of its size.
inline __m512 gelu(__m512 x) {
    const __m512 t = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(4.f)), _mm512_set1_ps(-4.f));
    const __m512 u = _mm512_mul_ps(t, t);
    __m512 p = _mm512_set1_ps(-1.307560837e-09f);
    p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(1.061800318e-07f));
    p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(-3.750190217e-06f));
    p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(7.666907914e-05f));
    p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(-1.024043071e-03f));
    p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(9.590897709e-03f));
    p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(-6.607717276e-02f));
    p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(3.988106251e-01f));
    return _mm512_mul_ps(x, _mm512_fmadd_ps(t, p, _mm512_set1_ps(0.5f)));
}

// 2 to the power of x. The part behind the point by a polynomial of degree 3 whose largest error is 8e-5 of the value; far below
// zero, and for minus infinity, the scaling gives 0.
inline __m512 power_of_two(__m512 x) {
    const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 p = _mm512_fmadd_ps(f, _mm512_set1_ps(0.07802187651f), _mm512_set1_ps(0.2260665596f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.6958361268f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.9999247193f));
    return _mm512_scalef_ps(p, x);
}

// 16 or 32 rows of `from`, a tile in each step, times 32 packed columns: floats, `width` from one row to the next. Beside each
// step, `aside` computes something else: the units of tiles and those of vectors work at the same time. Rows are read past the
// first cache, and weights too unless they are to STAY there; measured on a Xeon of 2023, that saves a sixth of the time.
template <int TILES, bool STAY, class Aside>
inline __attribute__((always_inline)) void multiply(const bf16* from, size_t apart, const bf16* weight, size_t weights_apart,
                                                    int steps, float* to, size_t width, Aside&& aside) {
    _tile_zero(0);
    _tile_zero(1);
    if (TILES == 2) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int step = 0; step < steps; step++, from += apart, weight += weights_apart) {
        if (STAY) _tile_loadd(6, weight, 64);
        else _tile_stream_loadd(6, weight, 64);
        _tile_stream_loadd(4, from, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (TILES == 2) {
            _tile_stream_loadd(5, from + TILE, 64);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (STAY) _tile_loadd(7, weight + TILE, 64);
        else _tile_stream_loadd(7, weight + TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
        if (TILES == 2) _tile_dpbf16ps(3, 5, 7);
        aside();
    }
    _tile_stored(0, to, width * 4);
    _tile_stored(1, to + 16, width * 4);
    if (TILES == 2) {
        _tile_stored(2, to + 16 * width, width * 4);
        _tile_stored(3, to + 16 * width + 16, width * 4);
    }
}

template <bool STAY, class Aside>
inline __attribute__((always_inline)) void multiply_rows(int rows, const bf16* from, size_t apart, const bf16* weight, int steps,
                                                         float* to, size_t width, Aside&& aside) {
    if (rows > TILE_ROWS) multiply<2, STAY>(from, apart, weight, 2 * TILE, steps, to, width, aside);
    else multiply<1, STAY>(from, apart, weight, 2 * TILE, steps, to, width, aside);
}

// 16 keys of 32 numbers -> a packed tile: 16 pairs of numbers by 16 keys
void transpose(const bf16* from, bf16* to) {
    __m512i r[16], t[16];
    for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(from + i * BLOCK);
    for (int i = 0; i < 16; i += 2) t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]), t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + 2 + j]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + 2 + j]);
        }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 16; j += 8) {
            t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
            t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
        }
    for (int i = 0; i < 8; i++) {
        _mm512_store_si512(to + i * BLOCK, _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88));
        _mm512_store_si512(to + (i + 8) * BLOCK, _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd));
    }
}

alignas(64) const uint16_t LOW_PAIRS[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                            8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
alignas(64) const uint16_t HIGH_PAIRS[32] = {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
                                             24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};

// `count` values of 32 numbers -> packed tiles, 16 pairs of values by 16 numbers. No row past the text's, which may not be finite.
void interleave(const bf16* from, int count, int parts, bf16* to) {
    const __m512i low = _mm512_load_si512(LOW_PAIRS), high = _mm512_load_si512(HIGH_PAIRS), none = _mm512_setzero_si512();
    for (int first = 0; first < count; first += BLOCK, to += static_cast<size_t>(parts) * 2 * TILE)
        for (int pair = 0; pair < 16; pair++) {
            const int at = first + 2 * pair;
            const __m512i a = at < count ? _mm512_loadu_si512(from + static_cast<size_t>(at) * BLOCK) : none;
            const __m512i b = at + 1 < count ? _mm512_loadu_si512(from + static_cast<size_t>(at + 1) * BLOCK) : none;
            _mm512_store_si512(to + pair * BLOCK, _mm512_permutex2var_epi16(a, low, b));
            _mm512_store_si512(to + TILE + pair * BLOCK, _mm512_permutex2var_epi16(a, high, b));
        }
}

}  // namespace
