// Integrate-and-fire neurons with integer weights, for a chip whose spikes come from no other simulator.
#pragma once

#include "async_chip.h"

namespace async_chip {

struct Segment {  // targets that follow one another
    int32_t target, count;
    int64_t weight;
};

// Neurons stand in blocks of 64 in the network's order. Only blocks are touched in which something can change.
class Neurons {
public:
    // `bit` of each neuron of the chip: where it stands in what step writes.
    Neurons(const Network& network, const std::vector<int64_t>& bit);
    // Updates neurons with what arrived in the step before: sets the bits of those that fire and corrects those of the
    // active ones, which are those that got an event, have a bias or a membrane that is not 0.
    void step(uint64_t* fired, uint64_t* active);
    // Hands the spikes of this step to the synapses.
    void deliver(const std::vector<uint64_t>& fired);

private:
    void find_segments(const Network& network);

    size_t blocks_;
    std::vector<int32_t> membrane_, threshold_, bias_, reset_;  // [64 * blocks_]
    std::vector<uint8_t> subtracts_;
    std::vector<int64_t> bit_;
    std::vector<uint64_t> biased_, touched_, charged_, shown_;  // [blocks_]: a bit for each neuron
    std::vector<uint64_t> dirty_;                               // a bit for each block
    std::vector<int32_t> neuron_;                               // of each bit
    std::vector<int64_t> segment_first_;
    std::vector<Segment> segments_;
    std::vector<int32_t> weights_;
};

}  // namespace async_chip
