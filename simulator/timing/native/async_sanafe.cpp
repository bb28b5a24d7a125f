// SANA-FE's "detailed" timing model once more, in its own arithmetic: seconds in floating point, summed one by one, and
// messages of the same moment in the order in which a binary heap yields them. What async_density.cpp rounds, this does
// not; it is there to show that nothing else differs.
#include <algorithm>
#include <cmath>
#include <list>
#include <queue>

#include "async_transport.h"

namespace async_chip {
namespace {

class Sanafe final : public Transport {
public:
    Sanafe(const Costs& costs, const Mesh& mesh, const Chip& chip, const Ways& ways)
        : mesh_(mesh), chip_(chip), ways_(ways), message_out_(seconds(costs.message_out)) {
        for (const Route& route : ways.routes) {
            int hops[directions] = {};
            for (int h = 1; h <= route.hops; ++h) ++hops[ways.links[route.first + h] % mesh.ports()];
            double least = 0;
            for (int d : {east, west, north, south}) least += hops[d] * seconds(costs.hop[d]);
            least_.push_back(least);
        }
    }
    int64_t step(const Work& work, int64_t* idle, std::vector<Event>* events) override;

private:
    struct Message {
        double wait, sent;
        int64_t neuron, axon;  // -1: only what the core still does
        int core;
        bool operator<(const Message& other) const { return sent > other.sent; }  // the earliest is on top
    };
    struct Received {
        double taken, time;
        int32_t route;
    };
    static int64_t picoseconds(double time) { return (int64_t)std::llround(time * 1e12); }
    void track(const Received& message, bool enters) {
        const Route& route = ways_.routes[message.route];
        const double share = (enters ? 1.0 : -1.0) / (2.0 + (double)route.hops);
        for (int h = 0; h <= route.hops; ++h) density_[ways_.links[route.first + h]] += share;
        const auto others = (double)in_flight_;
        if (enters)
            mean_ += (message.time - mean_) / (others + 1.0);
        else if (in_flight_ > 1)
            mean_ += (mean_ - message.time) / (others - 1.0);
        else
            mean_ = 0;
        in_flight_ += enters ? 1 : -1;
    }

    const Mesh& mesh_;
    const Chip& chip_;
    const Ways& ways_;
    double message_out_;
    std::vector<double> least_;  // of each route
    std::vector<double> density_;
    double mean_ = 0;  // time that receivers need for what is on its way
    int64_t in_flight_ = 0;
};

int64_t Sanafe::step(const Work& work, int64_t* idle, std::vector<Event>* events) {
    const int n = chip_.cores();
    density_.assign((size_t)(mesh_.tiles() * mesh_.ports()), 0.0);
    mean_ = 0, in_flight_ = 0;
    std::vector<std::list<Message>> to_send((size_t)n);
    std::vector<std::list<Received>> received((size_t)n);
    std::vector<double> free((size_t)n), sent((size_t)n);
    std::priority_queue<Message> due;
    double last = 0;
    for (int c = 0; c < n; ++c) {
        auto& mine = to_send[c];
        for (int64_t f = work.firing_first[c]; f < work.firing_first[c + 1]; ++f) {
            const Work::Firing& firing = work.firings[f];
            for (int64_t a = firing.axon; a < firing.end; ++a)
                mine.push_back({(a == firing.axon ? firing.seconds : 0.0) + message_out_, 0, firing.neuron, a, c});
        }
        if (work.rest_seconds[c] != 0) mine.push_back({work.rest_seconds[c], 0, -1, -1, c});
        if (mine.empty()) continue;
        Message first = mine.front();
        mine.pop_front();
        first.sent = first.wait;
        due.push(first);
    }
    while (!due.empty()) {
        const Message message = due.top();
        due.pop();
        const double ready = message.sent;
        double entered = ready;
        for (auto& queue : received)
            queue.remove_if([&](const Received& each) {
                const bool gone = ready >= each.taken;
                if (gone) track(each, false);
                return gone;
            });
        const int c = message.core;
        if (message.axon >= 0) {
            const Axon& axon = ways_.axons[message.axon];
            const Route& route = ways_.routes[axon.route];
            double along = 0;
            for (int h = 0; h <= route.hops; ++h) along += density_[ways_.links[route.first + h]];
            const auto capacity = (double)((route.hops + 1) * (int64_t)mesh_.link_depth);
            if (along > capacity) {
                const double blocks = (along - capacity) * mean_;
                entered += blocks;
                blocked[c] += picoseconds(blocks);
            }
            const double congestion = along * mean_ / ((double)route.hops + 1.0);
            const double arrived = entered + std::max(least_[axon.route], congestion);
            const double time = ways_.seconds[message.axon], taken = std::max(free[route.core], arrived);
            free[route.core] = std::max(free[route.core] + time, arrived + time);
            received[route.core].push_back({taken, time, axon.route});
            track(received[route.core].back(), true);
            last = std::max(last, free[route.core]);
            if (events)
                events->push_back({0, message.neuron, message.axon, picoseconds(ready), picoseconds(entered),
                                   picoseconds(arrived), picoseconds(taken), picoseconds(free[route.core])});
        }
        sent[c] = entered;
        last = std::max(last, entered);
        auto& mine = to_send[c];
        if (mine.empty()) continue;
        Message next = mine.front();
        mine.pop_front();
        next.sent = entered + next.wait;
        last = std::max(last, next.sent);
        due.push(next);
    }
    for (int c = 0; c < n; ++c) idle[c] = picoseconds(std::max(sent[c], free[c]));
    return picoseconds(last);
}

}  // namespace

std::unique_ptr<Transport> sanafe_of(const Costs& costs, const Mesh& mesh, const Chip& chip, const Ways& ways) {
    return std::make_unique<Sanafe>(costs, mesh, chip, ways);
}

}  // namespace async_chip
