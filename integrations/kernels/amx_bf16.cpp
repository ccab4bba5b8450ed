// BERT's layers in bf16 on AMX: the tokens of many texts are one matrix without padding, attention runs text by text.
//
// Matrices are kept in panels of 32 columns, [columns / 32][capacity][32], so that 16 rows of a panel are one tile of 1 KiB.
// Weights are packed once: [outputs / 32][inputs / 32], and in each place two tiles of [16 pairs of inputs][16 outputs][2].
// A row's arithmetic does not depend on the rows beside it, so a text gives the same bits alone and in any company.

#include "amx_tiles.h"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <utility>

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

enum Status { DONE = 0, NO_MEMORY = 1, OUT_OF_RANGE = 2 };
enum Pooling { STATES = 0, MEAN = 1, FIRST = 2 };
constexpr int ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;  // Linux gives AMX's registers on request only

template <class T>
T* allocated(size_t count) {
    const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
    void* place = aligned_alloc(64, bytes);
    if (place) memset(place, 0, bytes);
    return static_cast<T*>(place);
}

template <class T>
T* copied(const T* from, size_t count) {
    T* place = allocated<T>(count);
    if (place) memcpy(place, from, count * sizeof(T));
    return place;
}

// ---------------------------------------------------------------------------------------------- the model

struct Dense {
    int inputs = 0, outputs = 0;
    bf16* weight = nullptr;
    float* bias = nullptr;
};

struct Norm {
    float *weight = nullptr, *bias = nullptr;
};

struct Layer {
    Dense joined, out, up, down;  // joined: queries, keys and values in one product
    Norm attended, transformed;
};

struct Model {
    int hidden, heads, layers, inner, vocabulary, positions;
    float epsilon;
    const float *words, *places;  // the caller's, who keeps them
    Norm embedded;
    Layer* layer;
};

bf16 rounded(float number) {  // to nearest, ties to even; weights are finite
    uint32_t bits;
    memcpy(&bits, &number, 4);
    return static_cast<bf16>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

bool pack(Dense& dense, int inputs, int outputs, const float* const* arrays) {
    const float* weight = arrays[0];
    dense.inputs = inputs, dense.outputs = outputs;
    dense.bias = copied(arrays[1], outputs);
    bf16* to = dense.weight = allocated<bf16>(static_cast<size_t>(inputs) * outputs);
    if (!to || !dense.bias) return false;
    for (int first = 0; first < outputs; first += TILE_ROWS * 2)
        for (int input = 0; input < inputs; input += BLOCK)
            for (int output = first; output < first + BLOCK; output += TILE_ROWS)
                for (int pair = 0; pair < 16; pair++)
                    for (int column = 0; column < 16; column++)
                        for (int one = 0; one < 2; one++)
                            *to++ = rounded(weight[static_cast<size_t>(output + column) * inputs + input + 2 * pair + one]);
    return true;
}

bool keep(Norm& norm, int width, const float* const* arrays) {
    norm = {copied(arrays[0], width), copied(arrays[1], width)};
    return norm.weight && norm.bias;
}

void release(Dense& dense) { free(dense.weight), free(dense.bias); }
void release(Norm& norm) { free(norm.weight), free(norm.bias); }

// ------------------------------------------------------------------------------------------ what a call works in

struct Work {
    int capacity = 0;
    size_t panel = 0;  // numbers from one panel to the next
    bf16 *states = nullptr, *joined = nullptr, *mixed = nullptr, *inner = nullptr;
    bf16 *keys = nullptr, *values = nullptr, *shares = nullptr;  // of one head of one text
    float *scores = nullptr, *block = nullptr, *last = nullptr;

    void release() {
        for (bf16* place : {states, joined, mixed, inner, keys, values, shares}) free(place);
        for (float* place : {scores, block, last}) free(place);
        *this = Work();
    }

    bool reserve(const Model& model, int tokens) {
        // a block may reach 31 rows past the last token; with 16 beyond a multiple of 64, tiles of neighboring panels fall into
        // different sets of the first cache
        const int wanted = (tokens + 63) / 64 * 64 + 64 + 16;
        if (wanted <= capacity) return true;
        release();
        const size_t rows = static_cast<size_t>(wanted), hidden = static_cast<size_t>(model.hidden);
        const size_t size = hidden / model.heads;
        states = allocated<bf16>(rows * hidden), joined = allocated<bf16>(3 * rows * hidden);
        mixed = allocated<bf16>(rows * hidden), inner = allocated<bf16>(rows * model.inner);
        keys = allocated<bf16>(rows * size), values = allocated<bf16>(rows * size), shares = allocated<bf16>(rows * BLOCK);
        scores = allocated<float>((rows + BLOCK) * BLOCK), block = allocated<float>(2 * BLOCK * hidden);
        last = allocated<float>(rows * hidden);
        if (!states || !joined || !mixed || !inner || !keys || !values || !shares || !scores || !block || !last) {
            release();
            return false;
        }
        capacity = wanted, panel = rows * BLOCK;
        return true;
    }
};

// ------------------------------------------------------------------------------------------------ the layers

// What remains to be done with a block that has been multiplied: bias, GELU where it is asked for, rounding.
template <bool ACTIVE>
struct Finish {
    int rows_a_step, row = 0, rows = 0;
    const float *block = nullptr, *bias = nullptr;
    bf16* to = nullptr;

    void begin(const float* block_, const float* bias_, bf16* to_, int rows_) {
        block = block_, bias = bias_, to = to_, row = 0, rows = rows_;
    }

    inline __attribute__((always_inline)) void operator()() {
        for (int i = 0; i < rows_a_step && row < rows; i++, row++) {
            const __m512 a = _mm512_add_ps(_mm512_load_ps(block + row * BLOCK), _mm512_load_ps(bias));
            const __m512 b = _mm512_add_ps(_mm512_load_ps(block + row * BLOCK + 16), _mm512_load_ps(bias + 16));
            if (ACTIVE) store(to + row * BLOCK, gelu(a), gelu(b));
            else store(to + row * BLOCK, a, b);
        }
    }
};

// to = from times the matrix, plus its bias, and GELU where it is asked for. A panel of weights stays in the first cache; while a
// block is multiplied, the one before is finished.
template <bool ACTIVE>
void transform(const Dense& dense, const bf16* from, bf16* to, const Work& work, int tokens) {
    const int steps = dense.inputs / BLOCK;
    Finish<ACTIVE> finish{(BLOCK + steps - 1) / steps};
    float *block = work.block, *other = block + BLOCK * BLOCK;
    for (int column = 0; column < dense.outputs; column += BLOCK, to += work.panel) {
        const bf16* weight = dense.weight + static_cast<size_t>(column) * dense.inputs;
        for (int row = 0; row < tokens; row += BLOCK) {
            const int rows = tokens - row > TILE_ROWS ? BLOCK : TILE_ROWS;
            multiply_rows<true>(rows, from + row * BLOCK, work.panel, weight, steps, block, BLOCK, finish);
            finish.begin(block, dense.bias + column, to + static_cast<size_t>(row) * BLOCK, rows);
            std::swap(block, other);
        }
    }
    finish.rows_a_step = BLOCK;
    finish();
}

// One row of floats and the sums of its lanes, normalized into its place in the panels; as floats too where `last` is given. The
// variance is summed over differences from the mean, as torch does.
void normalize(const float* row, __m512 sums, const Norm& norm, const Model& model, bf16* to, size_t panel, float* last) {
    const int width = model.hidden;
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sums) / width);
    __m512 a = _mm512_setzero_ps(), b = a;
    for (int i = 0; i < width; i += 32) {
        const __m512 c = _mm512_sub_ps(_mm512_load_ps(row + i), mean), d = _mm512_sub_ps(_mm512_load_ps(row + i + 16), mean);
        a = _mm512_fmadd_ps(c, c, a), b = _mm512_fmadd_ps(d, d, b);
    }
    const float variance = _mm512_reduce_add_ps(_mm512_add_ps(a, b)) / width;
    const __m512 scale = _mm512_set1_ps(1.f / sqrtf(variance + model.epsilon));
    const auto placed = [&](int i) {
        const __m512 unit = _mm512_mul_ps(_mm512_sub_ps(_mm512_load_ps(row + i), mean), scale);
        return _mm512_fmadd_ps(unit, _mm512_load_ps(norm.weight + i), _mm512_load_ps(norm.bias + i));
    };
    for (int i = 0; i < width; i += 32, to += panel) {
        const __m512 low = placed(i), high = placed(i + 16);
        store(to, low, high);
        if (last) _mm512_storeu_ps(last + i, low), _mm512_storeu_ps(last + i + 16, high);
    }
}

// What remains to be done with rows that have been multiplied: bias, the states before, norm.
struct Close {
    const Dense& dense;
    const Norm& norm;
    const Model& model;
    const Work& work;
    float* last;
    int steps_a_row, step = 0, row = 0, end = 0;
    float* rows = nullptr;

    void begin(float* rows_, int row_, int end_) { rows = rows_, row = row_, end = end_, step = 0; }

    inline __attribute__((always_inline)) void operator()() {
        if (row == end || ++step % steps_a_row) return;
        one();
    }

    __attribute__((noinline)) void one() {
        const int width = dense.outputs;
        bf16* state = work.states + static_cast<size_t>(row) * BLOCK;
        const bf16* before = state;
        const auto summed = [&](int i, int half) {
            const __m512 biased = _mm512_add_ps(_mm512_load_ps(rows + i + half), _mm512_load_ps(dense.bias + i + half));
            const __m512 sum = _mm512_add_ps(biased, floats(before + half));
            _mm512_store_ps(rows + i + half, sum);
            return sum;
        };
        __m512 a = _mm512_setzero_ps(), b = a;
        for (int i = 0; i < width; i += BLOCK, before += work.panel) {
            a = _mm512_add_ps(a, summed(i, 0));
            b = _mm512_add_ps(b, summed(i, 16));
        }
        float* to = last ? last + static_cast<size_t>(row) * width : nullptr;
        normalize(rows, _mm512_add_ps(a, b), norm, model, state, work.panel, to);
        row++, rows += width;
    }

    void rest() {
        while (row < end) one();
    }
};

// states = norm(from times the matrix + bias + states); while a block of rows is multiplied, the one before is closed
void add(const Dense& dense, const Norm& norm, const Model& model, const bf16* from, const Work& work, int tokens, float* last) {
    const int steps = dense.inputs / BLOCK, width = dense.outputs;
    const int steps_a_row = steps * (width / BLOCK) / BLOCK;
    Close close{dense, norm, model, work, last, steps_a_row > 0 ? steps_a_row : 1};
    float *block = work.block, *other = block + BLOCK * width;
    for (int row = 0; row < tokens; row += BLOCK) {
        const int rows = tokens - row < BLOCK ? tokens - row : BLOCK;
        for (int column = 0; column < width; column += BLOCK) {
            const bf16* weight = dense.weight + static_cast<size_t>(column) * dense.inputs;
            multiply_rows<false>(rows, from + row * BLOCK, work.panel, weight, steps, block + column, width, close);
        }
        close.rest();
        close.begin(block, row, row + rows);
        std::swap(block, other);
    }
    close.rest();
}

// ------------------------------------------------------------------------------------------------- attention

// Scores of some rows -> shares as bf16 in panels of 32 rows, and what each row's have to be divided by. Row by row in each of
// three passes, so that no row waits for the sum over another's lanes.
inline void softmax(float* scores, size_t width, int rows, int count, float scale, bf16* to, float* divisors) {
    const int last = (count - 1) / 16 * 16, panels = (count + BLOCK - 1) / BLOCK;
    const __m512 lowest = _mm512_set1_ps(-INFINITY), scales = _mm512_set1_ps(scale);
    const __mmask16 there = static_cast<__mmask16>((1u << (count - last)) - 1);
    float offsets[BLOCK];
    __m512 sums[BLOCK];
    for (int r = 0; r < rows; r++) {
        float* row = scores + r * width;
        __m512 highest = _mm512_mask_loadu_ps(lowest, there, row + last);
        _mm512_storeu_ps(row + last, highest);
        if (last % BLOCK == 0) _mm512_storeu_ps(row + last + 16, lowest);
        for (int i = 0; i < last; i += 16) highest = _mm512_max_ps(highest, _mm512_loadu_ps(row + i));
        offsets[r] = -scale * _mm512_reduce_max_ps(highest);
    }
    for (int r = 0; r < rows; r++) {
        const float* row = scores + r * width;
        const __m512 offset = _mm512_set1_ps(offsets[r]);
        __m512 a = _mm512_setzero_ps(), b = a;
        for (int i = 0; i < panels; i++) {
            const __m512 low = power_of_two(_mm512_fmadd_ps(_mm512_loadu_ps(row + i * BLOCK), scales, offset));
            const __m512 high = power_of_two(_mm512_fmadd_ps(_mm512_loadu_ps(row + i * BLOCK + 16), scales, offset));
            a = _mm512_add_ps(a, low), b = _mm512_add_ps(b, high);
            store(to + (static_cast<size_t>(i) * BLOCK + r) * BLOCK, low, high);
        }
        sums[r] = _mm512_add_ps(a, b);
    }
    for (int r = 0; r < rows; r++) divisors[r] = _mm512_reduce_add_ps(sums[r]);
}

// up to 16 or 32 queries of one head of PARTS panels
template <int TILES, int PARTS>
void attend_block(const bf16* query, const Work& work, int rows, int count, float scale, bf16* to) {
    const size_t width = static_cast<size_t>((count + BLOCK - 1) / BLOCK) * BLOCK + 16;  // 16: as in Work::reserve
    for (int key = 0; key < count; key += TILE_ROWS) {
        _tile_zero(0);
        if (TILES == 2) _tile_zero(2);
        for (int part = 0; part < PARTS; part++) {
            _tile_loadd(4, query + part * work.panel, 64);
            _tile_loadd(6, work.keys + static_cast<size_t>(key / TILE_ROWS * PARTS + part) * TILE, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (TILES == 2) {
                _tile_loadd(5, query + part * work.panel + TILE, 64);
                _tile_dpbf16ps(2, 5, 6);
            }
        }
        _tile_stored(0, work.scores + key, width * 4);
        if (TILES == 2) _tile_stored(2, work.scores + 16 * width + key, width * 4);
    }
    float divisors[BLOCK];
    softmax(work.scores, width, rows, count, scale, work.shares, divisors);
    const int steps = (count + BLOCK - 1) / BLOCK;
    for (int part = 0; part < PARTS; part++, to += work.panel) {
        const bf16* value = work.values + static_cast<size_t>(part) * 2 * TILE;
        multiply<TILES, true>(work.shares, 2 * TILE, value, PARTS * 2 * TILE, steps, work.block, BLOCK, [] {});
        for (int r = 0; r < rows; r++) {
            const __m512 share = _mm512_set1_ps(1.f / divisors[r]);
            const float* sum = work.block + r * BLOCK;
            store(to + r * BLOCK, _mm512_mul_ps(_mm512_load_ps(sum), share), _mm512_mul_ps(_mm512_load_ps(sum + 16), share));
        }
    }
}

// one text: `length` queries over its first `count` keys
template <int PARTS>
void attend(const Model& model, const Work& work, int start, int length, int count) {
    const size_t panel = work.panel, head = PARTS * panel, apart = head * model.heads;
    const float scale = 1.44269504f / sqrtf(static_cast<float>(PARTS * BLOCK));  // by log2(e): powers of two follow
    const bf16* query = work.joined + static_cast<size_t>(start) * BLOCK;
    bf16* to = work.mixed + static_cast<size_t>(start) * BLOCK;
    for (int number = 0; number < model.heads; number++, query += head, to += head) {
        for (int part = 0; part < PARTS; part++) {
            const bf16* key = query + apart + part * panel;
            for (int i = 0; i < count; i += TILE_ROWS)
                transpose(key + i * BLOCK, work.keys + static_cast<size_t>(i / TILE_ROWS * PARTS + part) * TILE);
            interleave(key + apart, count, PARTS, work.values + static_cast<size_t>(part) * 2 * TILE);
        }
        for (int row = 0; row < length; row += BLOCK) {
            const int rows = length - row < BLOCK ? length - row : BLOCK;
            const size_t at = static_cast<size_t>(row) * BLOCK;
            if (rows > TILE_ROWS) attend_block<2, PARTS>(query + at, work, rows, count, scale, to + at);
            else attend_block<1, PARTS>(query + at, work, rows, count, scale, to + at);
        }
    }
}

// --------------------------------------------------------------------------------------------- the whole pass

void embed(const Model& model, const Work& work, const int32_t* ids, const int32_t* starts, int texts) {
    const int width = model.hidden;
    for (int text = 0; text < texts; text++)
        for (int at = starts[text]; at < starts[text + 1]; at++) {
            const float* word = model.words + static_cast<size_t>(ids[at]) * width;
            const float* place = model.places + static_cast<size_t>(at - starts[text]) * width;
            __m512 sums = _mm512_setzero_ps();
            for (int i = 0; i < width; i += 16) {
                const __m512 sum = _mm512_add_ps(_mm512_loadu_ps(word + i), _mm512_loadu_ps(place + i));
                _mm512_store_ps(work.block + i, sum);
                sums = _mm512_add_ps(sums, sum);
            }
            bf16* to = work.states + static_cast<size_t>(at) * BLOCK;
            normalize(work.block, sums, model.embedded, model, to, work.panel, nullptr);
        }
}

void pool(const Model& model, const Work& work, const int32_t* starts, int texts, Pooling pooling, float* out) {
    const int width = model.hidden;
    if (pooling == STATES) {
        memcpy(out, work.last, static_cast<size_t>(starts[texts]) * width * sizeof(float));
        return;
    }
    for (int text = 0; text < texts; text++, out += width) {
        const int count = pooling == FIRST ? 1 : starts[text + 1] - starts[text];
        const float* row = work.last + static_cast<size_t>(starts[text]) * width;
        for (int i = 0; i < width; i += 16) {
            __m512 sum = _mm512_setzero_ps();
            for (int r = 0; r < count; r++) sum = _mm512_add_ps(sum, _mm512_loadu_ps(row + static_cast<size_t>(r) * width + i));
            _mm512_storeu_ps(out + i, _mm512_mul_ps(sum, _mm512_set1_ps(1.f / static_cast<float>(count))));
        }
    }
}

bool in_range(const Model& model, const int32_t* ids, const int32_t* starts, const int32_t* attended, int texts) {
    for (int text = 0; text < texts; text++) {
        const int length = starts[text + 1] - starts[text];
        if (length < 1 || length > model.positions || attended[text] < 1 || attended[text] > length) return false;
    }
    for (int at = 0; at < starts[texts]; at++)
        if (ids[at] < 0 || ids[at] >= model.vocabulary) return false;
    return true;
}

}  // namespace

// Ask Linux for AMX's registers, for the whole process and its children: 0 where it gives them.
EXPORTED int medembed_permit() {
#ifdef __linux__
    return static_cast<int>(syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA));
#else
    return -1;
#endif
}

EXPORTED void medembed_model_free(Model* model) {
    for (int i = 0; model->layer && i < model->layers; i++) {
        Layer& layer = model->layer[i];
        for (Dense* dense : {&layer.joined, &layer.out, &layer.up, &layer.down}) release(*dense);
        for (Norm* norm : {&layer.attended, &layer.transformed}) release(*norm);
    }
    release(model->embedded);
    free(model->layer);
    free(model);
}

// numbers: hidden, heads, layers, inner, vocabulary, positions. arrays: words and places, which the caller keeps, norm of both;
// then of each layer joined, out, norm, up, down, norm; each a weight and a bias. Null where memory is short.
EXPORTED Model* medembed_model(const int32_t* numbers, float epsilon, const float* const* arrays) {
    Model* model = allocated<Model>(1);
    if (!model) return nullptr;
    const int hidden = numbers[0], inner = numbers[3], layers = numbers[2];
    *model = {hidden, numbers[1], layers, inner, numbers[4], numbers[5], epsilon, arrays[0], arrays[1], {}, nullptr};
    model->layer = allocated<Layer>(static_cast<size_t>(layers));
    bool whole = model->layer && keep(model->embedded, hidden, arrays + 2);
    arrays += 4;
    for (int i = 0; whole && i < layers; i++, arrays += 12) {
        Layer& layer = model->layer[i];
        whole = pack(layer.joined, hidden, 3 * hidden, arrays) && pack(layer.out, hidden, hidden, arrays + 2) &&
                keep(layer.attended, hidden, arrays + 4) && pack(layer.up, hidden, inner, arrays + 6) &&
                pack(layer.down, inner, hidden, arrays + 8) && keep(layer.transformed, hidden, arrays + 10);
    }
    if (whole) return model;
    medembed_model_free(model);
    return nullptr;
}

EXPORTED Work* medembed_work() {
    Work* work = allocated<Work>(1);
    if (work) *work = Work();
    return work;
}

EXPORTED void medembed_work_free(Work* work) {
    work->release();
    free(work);
}

// Final states of texts, pooled as asked. ids: all tokens; starts: texts + 1 places in them. One caller at a time for each work.
EXPORTED int medembed_run(const Model* model, Work* work, const int32_t* ids, const int32_t* starts, const int32_t* attended,
                          int32_t texts, int32_t pooling, float* out) {
    if (!in_range(*model, ids, starts, attended, texts)) return OUT_OF_RANGE;
    const int tokens = starts[texts];
    if (!work->reserve(*model, tokens)) return NO_MEMORY;
    configure();
    embed(*model, *work, ids, starts, texts);
    for (int i = 0; i < model->layers; i++) {
        const Layer& layer = model->layer[i];
        transform<false>(layer.joined, work->states, work->joined, *work, tokens);
        for (int text = 0; text < texts; text++) {
            const int length = starts[text + 1] - starts[text];
            if (model->hidden / model->heads == BLOCK) attend<1>(*model, *work, starts[text], length, attended[text]);
            else attend<2>(*model, *work, starts[text], length, attended[text]);
        }
        add(layer.out, layer.attended, *model, work->mixed, *work, tokens, nullptr);
        transform<true>(layer.up, work->states, work->inner, *work, tokens);
        float* last = i + 1 == model->layers ? work->last : nullptr;
        add(layer.down, layer.transformed, *model, work->inner, *work, tokens, last);
    }
    _tile_release();
    pool(*model, *work, starts, texts, static_cast<Pooling>(pooling), out);
    return DONE;
}
