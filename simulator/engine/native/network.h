// A network as the engine runs it: nodes in the order of the graph, each for a range of steps of one sample.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "kernels.h"

namespace engine {

// A vector that starts where a cache line does: a register of sums never lies across two.
template <class T>
struct LineAllocator {
    using value_type = T;
    LineAllocator() = default;
    template <class U>
    LineAllocator(const LineAllocator<U>&) {}
    T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
    void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t(64)); }
    template <class U>
    bool operator==(const LineAllocator<U>&) const { return true; }
    template <class U>
    bool operator!=(const LineAllocator<U>&) const { return false; }
};
template <class T>
using Lines = std::vector<T, LineAllocator<T>>;

// What a node emits at a step: channels and pixels. As bits, pixel by pixel (`bytes` each, a channel a bit); as numbers,
// channel by channel, as PyTorch has them.
struct Shape {
    int channels = 0, pixels = 0, bytes = 0;
    int64_t size() const { return (int64_t)channels * pixels; }
};

// How many weights each element of an event meets in a layer, where no synapse of the layer counts them itself.
struct Fan {
    int source = 0, layer = 0;
    const int64_t *stored = nullptr, *nonzero = nullptr;  // [size], channel by channel; 0 where the element is real
    bool uniform = false;                                 // whether all elements meet as many
};

enum Count { sops, sops_nonzero, spikes, active, inactive, counts };

struct Chunk {
    int vectors = 0;
    const int32_t* offsets = nullptr;
};

// Weights as what each unit of the source adds to its surroundings.
struct Synapse {
    int source = 0;
    bool wide = false;      // sums of 32 bits
    bool values = false;    // reads numbers instead of bits
    int weight_bytes = 1;   // of each weight: 1, 2 (16-bit sums) or 4
    int unit_bytes = 0;     // of the source's bits
    int channels = 0;       // of a unit, gaps included, a multiple of 64 for the tally
    int classes = 0, blocks = 0, parts = 0;
    const int32_t *units = nullptr, *places = nullptr, *class_start = nullptr;
    const int32_t *part_first = nullptr, *part_bytes = nullptr;  // of each part of a unit; of values: channels
    int piece_bytes = 0;                                         // of which no weights exceed 16-bit sums
    std::vector<std::vector<int32_t>> distances;  // of each class: how far, in pixels of the frame, its sums are
    std::vector<std::vector<Chunk>> chunks;                     // of each class
    int table_chunks = 0;                                       // of all classes
    Lines<uint8_t> table;
    const int64_t* table_at = nullptr;  // [blocks][parts][table_chunks] in elements; -1: nothing there
    int fan_classes = 0;
    const int32_t* fan_class = nullptr;  // of each unit; null: nothing to count
    const int64_t *fan_stored = nullptr, *fan_nonzero = nullptr;  // [fan_classes][channels]
};

struct Skip {
    int source = 0;
    const int32_t* weight = nullptr;  // as a layer's parameters
    int64_t stride = 0;
};

struct Arithmetic {
    int fraction = 0, rounding = 0;
    int overflow = 0, current_overflow = 0;  // 0: saturate, 1: wrap, 2: wrap once
    bool current_held = true;                // of integrators
    int64_t least = 0, most = 0, current_least = 0, current_most = 0;
    bool graded = true;
};

inline int64_t rounded(int64_t x, int by, int rounding) {  // x / 2**by
    if (by <= 0) return (int64_t)((uint64_t)x << -by);
    if (rounding == 0) return (x + (int64_t(1) << (by - 1))) >> by;
    if (rounding == 1) return x >> by;
    return x < 0 ? -(-x >> by) : x >> by;
}

struct Network;
struct Work;
struct Team;

struct Node {
    Shape shape;
    int id = 0;
    bool bits = false, numbers = false;  // in which forms it is wanted
    bool makes_bits = false;
    virtual ~Node() = default;
    virtual void start(const Network&, Work&) const {}
    virtual void run(const Network&, Team&, int from, int to) const;  // one sample after the other
    virtual void run_one(const Network&, Work&, int, int) const {}
    virtual void end(const Network&, Work&) const {}
};

// All that one sample needs, reused for the next.
struct Work {
    std::vector<std::vector<uint8_t>> bits;      // of each node, [steps][pixels][bytes]
    std::vector<std::vector<int64_t>> numbers;   // [steps][size]
    std::vector<std::vector<int64_t>> state;     // a node's own
    std::vector<std::vector<int32_t>> membrane;  // of layers on the fast path, where they are kept
    std::vector<std::vector<int32_t>> seen, left;
    std::vector<std::vector<int64_t>> seen_numbers, left_numbers;
    std::vector<uint8_t> constant;  // of each node, whether it is the same at each step
    std::vector<std::array<int64_t, counts>> counted;  // of each node
    int64_t overflows = 0;
    bool running = false;  // whether there is a state to go on from
    bool tracing = false;  // whether h and what is left of it are written down
};

// The events of a part of a unit's bits, class after class.
struct List {
    std::vector<uint8_t> events;
    std::vector<int32_t> values;
    std::vector<Unit> units;
    std::vector<int64_t> class_end;
    int pieces = 1;      // class_end is [pieces][classes]; between pieces 16-bit sums are moved on
    bool flush = false;  // as they are before it
};

// Samples that go through the network side by side, so that weights are fetched once for all of them, and the scratch
// of the layer that runs.
struct Team {
    std::vector<std::unique_ptr<Work>> all;
    int count = 0;  // of those that run
    Lines<int16_t> sums16;
    Lines<int32_t> sums32;
    std::vector<std::vector<List>> lists;  // of each sample
    std::vector<int32_t> met, ours, units;
    Lines<uint8_t> counters;
    std::vector<uint32_t> totals;
    std::vector<int64_t> elapsed;  // nanoseconds in each node, if they are wanted

    Work& operator[](int k) { return *all[k]; }
    void grow(int samples) {
        while ((int)all.size() < samples) all.push_back(std::make_unique<Work>());
        count = samples;
    }
};

struct Network {
    Kernels kernels;
    Arithmetic arithmetic;
    int steps = 0;
    bool timing = false;
    std::vector<std::unique_ptr<Node>> nodes;
    std::vector<Fan> fans;
    struct Group {
        std::vector<int> nodes;
        bool stepwise;
    };
    std::vector<Group> schedule;
    std::vector<int> inputs;

    void prepare(Work&) const;
    int together() const;  // how many samples are best run as a team
    // As many samples as the team counts, one after the other in memory; inputs are [samples][steps or 1][size] each.
    void run(Team&, const std::vector<const int64_t*>& given, const std::vector<int>& given_steps, bool stream) const;
    void meet(const Fan&, Work&) const;
    const uint8_t* bits_of(const Work& w, int node, int step) const {
        const Shape& s = nodes[node]->shape;
        return w.bits[node].data() + (int64_t)step * s.pixels * s.bytes;
    }
};

// A neuron or an integrator with what it reads; or only the sum of that.
struct Layer : Node {
    bool sums_only = false;           // no neurons: numbers, what they would be given
    bool fires = true, fast = false;  // fast: all steps of a pixel in registers
    int current = -1;                 // a node whose numbers are the sum, if there are no synapses
    std::vector<Synapse> synapses;
    std::vector<Skip> skips;
    int rows = 1, columns = 1, block = 0, blocks = 0;  // block: channels at a time
    int padded_rows = 1, padded_columns = 1, top = 0, before = 0;
    bool may_flush = false;  // whether weights alone do not prove that 16-bit sums suffice
    int64_t safe_events = 0;  // so many events never exceed them
    // Fast: [1 or pixels][stride]
    int64_t stride = 0;
    int width = 0;  // channels, padded
    const int32_t *threshold = nullptr, *flip = nullptr, *bias = nullptr, *input_bias = nullptr, *amount = nullptr,
                  *rest = nullptr, *init = nullptr;
    const double* decay = nullptr;
    int how = 0, reset = 0, decay_shift = 0, shift = 0;
    bool may_overflow = true, keep = false;
    // Any: [1 or size] (step 0 or 1), channel by channel
    struct Parameter {
        const int64_t* at = nullptr;
        int64_t step = 0;
        int64_t operator[](int64_t e) const { return at[e * step]; }
    };
    Parameter p_threshold, p_negative, p_flip, p_decay, p_current, p_bias, p_input_bias, p_rest, p_amount, p_keep, p_init;
    bool strict = false, has_negative = false;
    int refractory = 0;
    bool deaf = false;  // wait: whether it fired at the last step
    int64_t max_spikes = 1;  // a step

    void start(const Network&, Work&) const override;
    void run(const Network&, Team&, int from, int to) const override;
    bool shares() const;  // whether samples had better share its weights

private:
    // Sums of a sample: [frames][padded_rows][padded_columns][block], those of 16 bits or those of 32.
    struct Sums {
        const int16_t* narrow = nullptr;
        const int32_t* wide = nullptr;
    };
    int64_t frame() const { return (int64_t)padded_rows * padded_columns * block; }
    int64_t room(int frames) const { return (frames * frame() + 63) / 64 * 64 + 128; }  // kernels may touch what follows
    void gather(const Network&, Work&, Team&, std::vector<List>& lists, int from, int frames, int uses) const;
    void foresee(Team&, std::vector<List>& lists, int frames) const;
    void split(List&, const Synapse&, int bytes) const;
    bool sum(const Network&, Team&, int block, int frames, int from, int until) const;
    void update_fast(const Network&, Work&, Sums, int block, int from, int to, int frames) const;
    void update_any(const Network&, Work&, Sums, int block, int from, int to, int frames) const;
    template <class F>
    void each_sum(const Network&, Work&, Sums sums, int block, int from, int to, int frames, F&& take) const;
    void step_any(const Network&, Work&, int64_t element, int64_t x, int step, int channel, int pixel) const;
};

struct Input : Node {};

struct Delay : Node {
    int source = 0, steps = 1;
    void start(const Network&, Work&) const override;
    void run_one(const Network&, Work&, int from, int to) const override;
    void end(const Network&, Work&) const override;
};

// Numbers in, numbers out, one step after the other; pools of spikes stay bits.
struct Stateless : Node {
    enum Kind { linear, conv, conv_transpose, scale, sum_pool, max_pool, upsample, copy, concat, add, gain } kind = copy;
    std::vector<int> sources;
    const int64_t *weight = nullptr, *bias = nullptr;  // of a gain [steps] and [steps][size] (or none)
    int64_t bias_step = 0, weight_step = 0;
    int fraction = 0;  // bits of a gain behind the point
    int groups = 1, axis_outer = 1;
    std::vector<int64_t> inner;                 // of each source of a concatenation
    std::array<int, 2> in{1, 1}, out{1, 1}, kernel{1, 1}, stride{1, 1}, pad{0, 0}, dilation{1, 1};
    void run_one(const Network&, Work&, int from, int to) const override;

private:
    void step(const Network&, const std::vector<const int64_t*>& x, int64_t* y, int t) const;
    void pool_bits(const Network&, Work&, int step) const;
};

}  // namespace engine
