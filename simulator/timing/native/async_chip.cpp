#include "async_chip.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <unordered_map>

#include "async_neurons.h"
#include "async_transport.h"

namespace async_chip {
namespace {

constexpr int64_t at_once = 64;  // steps that threads share among them

uint64_t bits_from_to(int from, int to) {
    const uint64_t below = to >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << to) - 1;
    return from >= 64 ? 0 : below & (~(uint64_t)0 << from);
}

}  // namespace

Ways::Ways(const Chip& chip, const Mesh& mesh, const Costs& costs) {
    std::unordered_map<int64_t, int32_t> known;
    axons.resize(chip.axon_core.size());
    seconds = chip.axon_seconds;
    const int64_t n = chip.cores();
    for (int64_t c = 0; c < n; ++c)
        for (int64_t a = chip.axon_first[chip.neuron_first[c]]; a < chip.axon_first[chip.neuron_first[c + 1]]; ++a) {
            const int32_t to = chip.axon_core[a];
            const auto [found, is_new] = known.try_emplace(c * n + to, (int32_t)routes.size());
            axons[a] = {(int32_t)chip.axon_time[a], found->second};
            if (!is_new) continue;
            // Along x, then along y.
            Route route{(int64_t)links.size(), 0, 0, to};
            int x = chip.core_x[c], y = chip.core_y[c], port = directions + chip.core_port[c];
            for (;;) {
                links.push_back((x * mesh.height + y) * mesh.ports() + port);
                if (x != chip.core_x[to]) {
                    port = x < chip.core_x[to] ? east : west;
                    x += port == east ? 1 : -1;
                } else if (y != chip.core_y[to]) {
                    port = y < chip.core_y[to] ? north : south;
                    y += port == north ? 1 : -1;
                } else {
                    break;
                }
                ++route.hops;
                route.least += costs.hop[port];
            }
            routes.push_back(route);
        }
}

Simulator::Simulator(Costs costs, Mesh mesh, Chip chip, Routing routing, int threads)
    : costs_(costs), mesh_(mesh), chip_(std::move(chip)), routing_(routing), ways_(chip_, mesh_, costs_) {
    chip_.axon_core = {}, chip_.axon_time = {}, chip_.axon_seconds = {};
    word_first_.assign(1, 0);
    for (int c = 0; c < chip_.cores(); ++c)
        word_first_.push_back(word_first_.back() + (chip_.neuron_first[c + 1] - chip_.neuron_first[c] + 63) / 64);
    fired_.assign((size_t)word_first_.back(), 0), active_ = fired_;
    for (int t = 0; t < threads; ++t)
        transports_.push_back((routing_ == density  ? density_of
                               : routing_ == sanafe ? sanafe_of
                                                    : links_of)(costs_, mesh_, chip_, ways_));
}

Simulator::~Simulator() = default;

std::vector<int64_t> Simulator::bits() const {
    std::vector<int64_t> bit((size_t)chip_.neurons());
    for (int c = 0; c < chip_.cores(); ++c)
        for (int64_t k = chip_.neuron_first[c]; k < chip_.neuron_first[c + 1]; ++k)
            bit[k] = 64 * word_first_[c] + k - chip_.neuron_first[c];
    return bit;
}

void Simulator::simulate(const Network& network) {
    neurons_ = std::make_unique<Neurons>(network, bits());
    std::fill(active_.begin(), active_.end(), 0);
}

Record Simulator::run(int64_t steps, bool events) {
    return run(steps, events, [&](int64_t) {
        std::fill(fired_.begin(), fired_.end(), 0);
        neurons_->step(fired_.data(), active_.data());
        neurons_->deliver(fired_);
    });
}

Record Simulator::run(const Spikes& spikes, bool events) {
    const std::vector<int64_t> bit = bits();
    const auto set = [&](std::vector<uint64_t>& into, const std::vector<int64_t>& numbers, int64_t first, int64_t end) {
        std::fill(into.begin(), into.end(), 0);
        for (int64_t k = first; k < end; ++k) into[bit[numbers[k]] / 64] |= (uint64_t)1 << (bit[numbers[k]] % 64);
    };
    // A network that is simulated, too, goes on from its own active neurons.
    const std::vector<uint64_t> before = active_;
    std::fill(active_.begin(), active_.end(), ~(uint64_t)0);
    Record record = run(spikes.count, events, [&](int64_t k) {
        set(fired_, spikes.fired, spikes.fired_first[k], spikes.fired_first[k + 1]);
        if (!spikes.active_first.empty()) set(active_, spikes.active, spikes.active_first[k], spikes.active_first[k + 1]);
    });
    active_ = before;
    return record;
}

template <class Fire>
Record Simulator::run(int64_t steps, bool events, Fire&& fire) {
    const size_t n = (size_t)chip_.cores(), ports = (size_t)(mesh_.tiles() * mesh_.ports());
    keep_ = events;
    before_ = number_;
    record_ = Record{};
    record_.causes.assign((size_t)(steps * chip_.columns), 0);
    record_.fires.assign((size_t)chip_.neurons(), 0);
    record_.computing.assign(n, 0), record_.working.assign(n, 0), record_.blocked.assign(n, 0);
    record_.messages.assign(ports, 0), record_.busy.assign(ports, 0), record_.waiting.assign(ports, 0);
    record_.idle.assign((size_t)steps * n, 0);
    for (auto& transport : transports_) {
        transport->blocked.assign(n, 0);
        if (routing_ == links)
            for (auto* each : {&transport->messages, &transport->busy, &transport->waiting}) each->assign(ports, 0);
    }
    // While other threads time some steps, this one looks who fires in the next ones, and then helps.
    std::vector<Work> now, coming((size_t)std::min(at_once, steps));
    now.resize(coming.size());
    std::vector<std::vector<Event>> kept(now.size());
    std::vector<int64_t> last(now.size());
    const auto look = [&](int64_t first, std::vector<Work>& into) {
        for (int64_t k = first; k < std::min(first + at_once, steps); ++k) {
            fire(k);
            collect(k, into[k - first]);
        }
    };
    look(0, coming);
    for (int64_t first = 0; first < steps; first += at_once) {
        now.swap(coming);
        const int64_t count = std::min(at_once, steps - first);
        for (auto& each : kept) each.clear();
        std::atomic<int64_t> next{0};
        std::vector<std::exception_ptr> failed(transports_.size());
        const auto time = [&](size_t t) {
            try {
                for (int64_t k; (k = next++) < count;) {
                    int64_t* idle = record_.idle.data() + (first + k) * (int64_t)n;
                    last[k] = transports_[t]->step(now[k], idle, keep_ ? &kept[k] : nullptr);
                }
            } catch (...) {
                failed[t] = std::current_exception();
            }
        };
        std::vector<std::thread> threads;
        for (size_t t = 1; t < transports_.size(); ++t) threads.emplace_back(time, t);
        look(first + at_once, coming);
        time(0);
        for (auto& thread : threads) thread.join();
        for (const auto& each : failed)
            if (each) std::rethrow_exception(each);
        for (int64_t k = 0; k < count; ++k) {
            for (size_t c = 0; c < n; ++c) record_.idle[(size_t)(first + k) * n + c] += start_;
            for (Event event : kept[k]) {
                event.step = number_;
                for (int64_t* time : {&event.ready, &event.entered, &event.arrived, &event.taken, &event.done}) *time += start_;
                record_.events.push_back(event);
            }
            record_.start.push_back(start_);
            record_.quiet.push_back(start_ + last[k]);
            start_ += last[k] + costs_.barrier;
            ++number_;
        }
    }
    account();
    return std::move(record_);
}

// Who fires, in the order in which cores come to it, and how long after the one before.
void Simulator::collect(int64_t step, Work& work) {
    work.firings.clear();
    work.firing_first.assign(1, 0);
    work.rest.clear(), work.rest_seconds.clear();
    // SANA-FE adds up neuron after neuron, and each rounds.
    const bool sums = routing_ == sanafe;
    const double access = seconds(costs_.access), update = access + seconds(costs_.update);
    const double spike = update + seconds(costs_.spike);
    int64_t fired = 0, updated = 0;
    int64_t* causes = record_.causes.data() + step * chip_.columns;
    for (int c = 0; c < chip_.cores(); ++c) {
        int64_t pending = 0, of_core = 0, spikes = 0;
        double sum = 0;
        const int64_t neurons = chip_.neuron_first[c + 1] - chip_.neuron_first[c];
        for (int64_t w = word_first_[c]; w < word_first_[c + 1]; ++w) {
            const int64_t base = 64 * (w - word_first_[c]);
            const int count = (int)std::min<int64_t>(64, neurons - base);
            const uint64_t all = (active_[w] | fired_[w]) & bits_from_to(0, count);
            int at = 0;
            for (uint64_t f = fired_[w]; f; f &= f - 1) {
                const int here = __builtin_ctzll(f);
                const int busy = __builtin_popcountll(all & bits_from_to(at, here + 1));
                pending += costs_.access * (here + 1 - at) + costs_.update * busy + costs_.spike;
                of_core += busy;
                if (sums) {
                    for (int k = at; k < here; ++k) sum += all >> k & 1 ? update : access;
                    sum += spike;
                }
                at = here + 1;
                const int64_t neuron = chip_.neuron_first[c] + base + here;
                ++spikes;
                ++record_.fires[neuron];
                for (int k = 0; k < chip_.columns; ++k) causes[k] += chip_.causes[neuron * chip_.columns + k];
                if (keep_) record_.spikes.insert(record_.spikes.end(), {before_ + step, neuron});
                const int64_t axon = chip_.axon_first[neuron], end = chip_.axon_first[neuron + 1];
                if (axon == end) continue;
                work.firings.push_back({pending, neuron, axon, end, sum});
                pending = 0, sum = 0;
            }
            const int busy = __builtin_popcountll(all & bits_from_to(at, count));
            pending += costs_.access * (count - at) + costs_.update * busy;
            of_core += busy;
            if (sums)
                for (int k = at; k < count; ++k) sum += all >> k & 1 ? update : access;
        }
        record_.computing[c] += costs_.access * neurons + costs_.update * of_core + costs_.spike * spikes;
        fired += spikes;
        updated += of_core;
        work.rest.push_back(pending);
        work.rest_seconds.push_back(sum);
        work.firing_first.push_back((int64_t)work.firings.size());
    }
    record_.fired.push_back(fired);
    record_.updated.push_back(updated);
}

// What follows from who fired.
void Simulator::account() {
    for (const auto& transport : transports_) {
        for (size_t c = 0; c < transport->blocked.size(); ++c) record_.blocked[c] += transport->blocked[c];
        for (size_t p = 0; p < transport->messages.size(); ++p) {
            record_.messages[p] += transport->messages[p];
            record_.busy[p] += transport->busy[p];
            record_.waiting[p] += transport->waiting[p];
        }
    }
    for (int c = 0; c < chip_.cores(); ++c)
        for (int64_t k = chip_.neuron_first[c]; k < chip_.neuron_first[c + 1]; ++k) {
            const int64_t fires = record_.fires[k];
            if (!fires) continue;
            for (int64_t a = chip_.axon_first[k]; a < chip_.axon_first[k + 1]; ++a) {
                const Axon& axon = ways_.axons[a];
                record_.computing[c] += fires * costs_.message_out;
                const Route& route = ways_.routes[axon.route];
                record_.working[route.core] += fires * axon.time;
                if (routing_ == links) continue;
                for (int h = 0; h <= route.hops; ++h) {
                    // The output that leads to where the next tile is entered.
                    const int32_t* at = &ways_.links[route.first + h];
                    const int port = h < route.hops ? at[1] % mesh_.ports() : directions + chip_.core_port[route.core];
                    record_.messages[at[0] / mesh_.ports() * mesh_.ports() + port] += fires;
                }
            }
        }
}

}  // namespace async_chip
