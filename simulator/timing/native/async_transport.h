// What happens to the messages of a step, from core to core.
#pragma once

#include "async_chip.h"

namespace async_chip {

template <class T>
class Ring {
public:
    T& front() { return places_[head_]; }
    const T& front() const { return places_[head_]; }
    size_t size() const { return count_; }
    void clear() { head_ = count_ = 0; }
    void push(const T& value) {
        if (count_ == places_.size()) grow();
        places_[(head_ + count_++) & (places_.size() - 1)] = value;
    }
    void pop() { head_ = (head_ + 1) & (places_.size() - 1), --count_; }

private:
    void grow() {
        std::vector<T> larger(2 * places_.size());
        for (size_t k = 0; k < count_; ++k) larger[k] = places_[(head_ + k) & (places_.size() - 1)];
        places_.swap(larger), head_ = 0;
    }
    std::vector<T> places_ = std::vector<T>(8);
    size_t head_ = 0, count_ = 0;
};

class Transport {
public:
    virtual ~Transport() = default;
    // Says when the last thing happens, and since when each core is idle; adds to events if they are wanted.
    virtual int64_t step(const Work& work, int64_t* idle, std::vector<Event>* events) = 0;

    std::vector<int64_t> blocked;                  // [cores]
    std::vector<int64_t> messages, busy, waiting;  // [tiles][ports], if outputs are simulated
};

std::unique_ptr<Transport> links_of(const Costs& costs, const Mesh& mesh, const Chip& chip, const Ways& ways);
std::unique_ptr<Transport> density_of(const Costs& costs, const Mesh& mesh, const Chip& chip, const Ways& ways);
std::unique_ptr<Transport> sanafe_of(const Costs& costs, const Mesh& mesh, const Chip& chip, const Ways& ways);

}  // namespace async_chip
