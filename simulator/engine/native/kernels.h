// What the inner loops take and give, whatever the instruction set. docs/engine.md draws the layouts.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace engine {

constexpr int max_vectors = 12;  // accumulators that a kernel holds in registers
constexpr int band_units = 128;  // units that are sorted by how many events they have, so that branches are foreseen
constexpr int event_slack = 64;  // bytes behind the last event that a store may touch

// The indices of the set bits of each byte, one a byte, for instruction sets that cannot compress.
extern uint64_t byte_indices[256];
void fill_byte_indices();

// One unit (a pixel, or a few side by side) at one step: its events, and where its sums go.
struct Unit {
    uint32_t start;
    uint32_t count;
    int32_t place;
};

// Counts how often each channel fired, apart for units that meet different numbers of weights.
struct Tally {
    const int32_t* classes;  // of each unit
    uint8_t* counters;       // [count][channels]: up to 255 each, then they are moved
    uint32_t* totals;        // [count][channels]
    int count;               // of classes
    int channels;            // a multiple of 64
    int since;               // so many units may have been counted since the counters were moved
};

struct Decode {
    const uint8_t* spikes;  // of the first step
    int64_t step_bytes;     // from one step to the next
    int steps;
    const int32_t* units;   // which, in this order
    const int32_t* places;  // where the sums of each go (lanes, relative to the step's frame)
    int count;
    int unit_bytes;    // from one unit to the next
    int first, bytes;  // the part of a unit that is read
    int64_t frame;     // lanes from one step's frame of accumulators to the next
};

struct Update {
    const int16_t* sums16;  // one of the two is given
    const int32_t* sums32;
    int64_t frame, row, pixel;  // lanes from one step, row, pixel to the next (frame 0: the sums are the same at each step)
    int steps, rows, columns, channels;  // channels: of this block, a multiple of half a register
    // Parameters [channels] (stride 0) or [pixels][stride], and masks of all ones where the comparison is flipped.
    const int32_t *threshold, *flip, *bias, *input_bias, *amount, *rest;
    const double* decay;
    int64_t stride;
    int shift;        // of the sum: to the left if positive
    int decay_shift;  // how = Decayed::shifted
    int rounding;     // 0: nearest, 1: floor, 2: towards zero
    int32_t least, most;                  // what the membrane holds
    int32_t current_least, current_most;  // and the current
    // Skips: events of the same shape that meet one weight each.
    int skips;
    const uint8_t* skip_spikes[8];
    int64_t skip_step[8];
    const int32_t* skip_weight[8];
    int64_t skip_stride[8];
    const int32_t* init;      // as the parameters; where the membranes start, if they were not kept
    int32_t* membrane;        // [pixels][membrane_stride], kept from call to call; null: not kept
    int64_t membrane_stride;
    bool fresh;               // whether they start here
    uint8_t* spikes;  // of this block's first channel; pixel_bytes from pixel to pixel
    int64_t step_bytes;
    int pixel_bytes;
    int32_t *seen, *left;  // h, and what is left of it, [steps][pixels][membrane_stride]; null: not asked for
    int64_t seen_step;
    int64_t active, overflows;  // are added to
};

enum Decayed { same, shifted, general };
enum Reset { to_value, by_amount, none };

template <class W>
using Scatter = void (*)(const W* weights, const uint8_t* events, const Unit* units, int64_t count, int16_t* sums,
                         const int32_t* offsets, const uint8_t* ahead, int64_t bytes_ahead);
using Scatter32 = void (*)(const int32_t* weights, const uint8_t* events, const int32_t* values, const Unit* units,
                           int64_t count, int32_t* sums, const int32_t* offsets);

struct Kernels {
    const char* name;
    int lanes;             // 16-bit accumulators in a register
    bool narrow;           // whether weights are best kept as bytes
    Scatter<int8_t> scatter8[max_vectors + 1];
    Scatter<int16_t> scatter16[max_vectors + 1];
    Scatter32 scatter32[max_vectors + 1];  // of half a register each
    // Writes events and units; returns how many units. `events` has room for every bit, and for event_slack.
    int64_t (*decode)(const Decode&, Tally*, uint8_t* events, uint32_t& used, Unit* units);
    // What the tallied events met: [classes][channels] weights stored, and weights that are not zero.
    void (*met)(const Tally&, const int64_t* stored, const int64_t* nonzero, int64_t& all, int64_t& some);
    int64_t (*count)(const uint8_t* bits, int64_t bytes);    // how many are set
    void (*widen)(int16_t* from, int32_t* into, int64_t count);  // adds, and leaves zeros
    void (*update[3][3][2])(Update&);                           // [Decayed][Reset][whether registers may overflow]
    // Sums an array some times over, as fast as registers can: what the others are measured against.
    int64_t (*roof)(const int16_t* array, int64_t size, int64_t passes);
};

// Functions, not objects: nothing of a set may run before it is known that the machine has it.
Kernels portable_kernels();
#if defined(__x86_64__)
Kernels avx2_kernels();
Kernels avx512_kernels();
#endif

}  // namespace engine
