// SANA-FE's "detailed" timing model (its src/schedule.cpp): no queue of the network is simulated. A message is as late
// as what is on its route at the moment in which it is sent, times the mean time that the receivers of all messages on
// their way need for one.
#include <algorithm>
#include <limits>

#include "async_transport.h"

namespace async_chip {
namespace {

constexpr double part = 1.0 / 1073741824.0;  // a message's share of a link is counted in parts of this
constexpr int number_bits = 16;

// The earliest of one moment for each core, found by a tree of minima; equal moments in the order of cores.
class Earliest {
public:
    explicit Earliest(int n) {
        while (leaves_ < n) leaves_ *= 2;
        tree_.assign((size_t)(2 * leaves_), never);
    }
    void clear() { std::fill(tree_.begin(), tree_.end(), never); }
    bool any() const { return tree_[1] != never; }
    int64_t time() const { return (int64_t)(tree_[1] >> number_bits); }
    int number() const { return (int)(tree_[1] & ((1 << number_bits) - 1)); }
    void set(int number, int64_t time) { put(number, key(number, time)); }
    void remove(int number) { put(number, never); }
    static constexpr uint64_t never = (uint64_t)std::numeric_limits<int64_t>::max();
    static uint64_t key(int number, int64_t time) { return (uint64_t)time << number_bits | (uint64_t)number; }
    void put(int number, uint64_t key) {
        uint64_t* const tree = tree_.data();
        size_t at = (size_t)(leaves_ + number);
        tree[at] = key;
        for (; at > 1; at >>= 1) tree[at >> 1] = key = std::min(key, tree[at ^ 1]);
    }

private:
    int leaves_ = 2;
    std::vector<uint64_t> tree_;
};

class Density final : public Transport {
public:
    Density(const Costs& costs, const Mesh& mesh, const Chip& chip, const Ways& ways)
        : message_out_(costs.message_out), chip_(chip), ways_(ways), sends_(chip.cores()), leaves_(chip.cores()) {
        const size_t n = (size_t)chip.cores();
        blocked.assign(n, 0);
        sources_.resize(n), free_.resize(n), heads_.resize(n), tails_.resize(n);
        // Routes get links that count nothing, so that all are made of fours.
        nothing_ = mesh.tiles() * mesh.ports();
        density_.assign((size_t)nothing_ + 4, 0);
        for (const Route& route : ways.routes) {
            Padded padded{(int32_t)links_.size(), 0, route.least, (int32_t)(1 / part / (route.hops + 2)), route.core, 0, 0};
            for (int k = 0; k <= route.hops; ++k) links_.push_back(ways.links[route.first + k]);
            while (links_.size() % 4) links_.push_back(nothing_ + (int32_t)(links_.size() % 4));
            padded.end = (int32_t)links_.size();
            padded.capacity = (int64_t)((route.hops + 1) * (int64_t)mesh.link_depth / part);
            padded.each = 1.0 / (route.hops + 1);
            routes_.push_back(padded);
        }
    }

    int64_t step(const Work& work, int64_t* idle, std::vector<Event>* events) override;

private:
    struct Padded {
        int32_t first, end;  // in links_
        int64_t least;
        int32_t share, core;  // share: of a message, on each link
        int64_t capacity;  // of the route, in these parts
        double each;
    };
    struct Source {
        int64_t axon, end, firing, firing_end;
    };
    struct Sent {
        int64_t taken, time;
        int32_t route, next;  // next: of the same core
    };

    int64_t message_out_;
    const Chip& chip_;
    const Ways& ways_;
    Earliest sends_, leaves_;
    std::vector<Source> sources_;
    std::vector<Sent> sent_;
    std::vector<int32_t> heads_, tails_;    // of what each core has not taken yet, in sent_
    std::vector<int64_t> free_;             // when a core has worked on all that it received
    std::vector<Padded> routes_;
    std::vector<int32_t> links_;
    std::vector<int64_t> density_;
    int32_t nothing_ = 0;
};

int64_t Density::step(const Work& work, int64_t* idle, std::vector<Event>* events) {
    const int n = chip_.cores();
    std::fill(density_.begin(), density_.end(), 0);
    std::fill(free_.begin(), free_.end(), 0);
    std::fill(heads_.begin(), heads_.end(), -1);
    sends_.clear(), leaves_.clear();
    size_t most = 0;
    for (const Work::Firing& firing : work.firings)
        most += (size_t)(firing.end - firing.axon);
    if (sent_.size() < most) sent_.resize(most);
    // Local names, because what is written could be any of the members.
    const Padded* const routes = routes_.data();
    const int32_t* const links = links_.data();
    const Axon* const axons = ways_.axons.data();
    const Work::Firing* const firings = work.firings.data();
    int64_t* const density = density_.data();
    int64_t* const nothing = density + nothing_;
    int64_t* const free = free_.data();
    int32_t* const heads = heads_.data();
    int32_t* const tails = tails_.data();
    Sent* const sent = sent_.data();
    Source* const sources = sources_.data();
    const int64_t message_out = message_out_;
    int64_t last = 0, in_flight = 0, working = 0;  // working: what all on their way will take, together
    int32_t count = 0;
    for (int c = 0; c < n; ++c) {
        const int64_t first = work.firing_first[c];
        if (first == work.firing_first[c + 1]) {
            idle[c] = work.rest[c];
            continue;
        }
        sources[c] = {firings[first].axon, firings[first].end, first, work.firing_first[c + 1]};
        sends_.set(c, firings[first].delay + message_out);
    }
    while (sends_.any()) {
        const int64_t ready = sends_.time();
        const int c = sends_.number();
        // What a core has taken by now is not on its way any more.
        while (leaves_.time() <= ready) {
            const int from = leaves_.number();
            const Sent& gone = sent[heads[from]];
            const int32_t next = gone.next;
            heads[from] = next;
            leaves_.put(from, next < 0 ? Earliest::never : Earliest::key(from, sent[next].taken));
            const Padded& route = routes[gone.route];
            for (int32_t k = route.first; k < route.end; k += 4)
                for (int each = 0; each < 4; ++each) density[links[k + each]] -= route.share;
            std::fill(nothing, nothing + 4, 0);
            --in_flight;
            working -= gone.time;
        }
        Source& source = sources[c];
        const Axon axon = axons[source.axon];
        const Padded& route = routes[axon.route];
        int64_t along = 0;
        for (int32_t k = route.first; k < route.end; k += 4)
            for (int each = 0; each < 4; ++each) {
                int64_t& link = density[links[k + each]];
                along += link;
                link += route.share;
            }
        std::fill(nothing, nothing + 4, 0);
        int64_t entered = ready, network = route.least;
        if (along) {
            const double each = (double)working / (double)in_flight * part;
            if (along > route.capacity) {
                const auto blocks = (int64_t)((double)(along - route.capacity) * each);
                entered += blocks;
                blocked[c] += blocks;
            }
            network = std::max(network, (int64_t)((double)along * each * route.each));
        }
        const int64_t arrived = entered + network;
        const int64_t taken = std::max(free[route.core], arrived), done = taken + axon.time;
        free[route.core] = done;
        sent[count] = {taken, axon.time, axon.route, -1};
        if (heads[route.core] < 0) {
            heads[route.core] = count;
            leaves_.put(route.core, Earliest::key(route.core, taken));
        } else {
            sent[tails[route.core]].next = count;
        }
        tails[route.core] = count++;
        ++in_flight;
        working += axon.time;
        if (events) events->push_back({0, firings[source.firing].neuron, source.axon, ready, entered, arrived, taken, done});
        if (++source.axon < source.end) {
            sends_.set(c, entered + message_out);
        } else if (++source.firing < source.firing_end) {
            const Work::Firing& next = firings[source.firing];
            source.axon = next.axon, source.end = next.end;
            if (source.firing + 1 < source.firing_end) __builtin_prefetch(&axons[firings[source.firing + 1].axon]);
            sends_.set(c, entered + next.delay + message_out);
        } else {
            sends_.remove(c);
            idle[c] = entered + work.rest[c];
        }
    }
    for (int c = 0; c < n; ++c) last = std::max(last, idle[c] = std::max(idle[c], free[c]));
    return last;
}

}  // namespace

std::unique_ptr<Transport> density_of(const Costs& costs, const Mesh& mesh, const Chip& chip, const Ways& ways) {
    return std::make_unique<Density>(costs, mesh, chip, ways);
}

}  // namespace async_chip
