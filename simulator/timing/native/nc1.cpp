#include "nc1.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <tuple>

namespace nc1 {
namespace {

enum { north, east, south, west, local };
constexpr int to_sender = 5;
constexpr int the_host_port = -1;
constexpr auto never = std::numeric_limits<int64_t>::max();

using Later = std::pair<int64_t, std::pair<int, int>>;

}  // namespace

Simulator::Simulator(Parameters parameters, Chip chip) : p_(parameters), chip_(std::move(chip)) {
    const int n = p_.cores();
    routers_.resize(n);
    cores_.resize(n);
    for (int r = 0; r < n; ++r) {
        Router& router = routers_[r];
        router.x = r % p_.mesh_x, router.y = r / p_.mesh_x;
        for (Fifo& fifo : router.input) fifo.places.resize(p_.router_depth);
        for (int o = 0; o < 4; ++o) router.credit[o] = p_.router_depth;
        router.credit[local] = p_.input_depth;
        cores_[r].input.places.resize(p_.input_depth);
        cores_[r].vectors.resize(p_.spike_depth);
        cores_[r].credit = p_.router_depth;
    }
    host_credit_ = p_.router_depth;
    for (int kind : {a_router, a_sender, a_receiver}) awake_[kind].assign(n, -1);
    awake_[the_host].assign(1, -1);
}

Record Simulator::run(const Steps& steps, bool events, int64_t limit) {
    const int n = p_.cores();
    keep_ = events;
    record_ = Record{};
    record_.words.assign(n, 0), record_.stalled.assign(n, 0), record_.blocked.assign(n, 0);
    record_.flits.assign(5 * n, 0), record_.waiting.assign(5 * n, 0), record_.fullest.assign(5 * n, 0);
    for (int k = 0; k < steps.count; ++k) {
        step(steps, k, limit);
        ++step_;
    }
    return std::move(record_);
}

void Simulator::wake(Kind kind, int index, int64_t cycle) {
    if (cycle > now_ + 1) {
        later_.push_back({cycle, {kind, index}});
        std::push_heap(later_.begin(), later_.end(), std::greater<Later>());
    } else if (awake_[kind][index] != cycle) {
        awake_[kind][index] = cycle;
        soon_.push_back({kind, index});
    }
}

void Simulator::step(const Steps& steps, int k, int64_t limit) {
    const int n = p_.cores();
    now_ = start_ - 1;
    last_move_ = start_;
    for (int c = 0; c < n; ++c) {
        Core& core = cores_[c];
        core.next = steps.vector_first[(int64_t)k * n + c];
        core.end = steps.vector_first[(int64_t)k * n + c + 1];
        core.stalled = 0;
        if (chip_.groups[c]) core.swept = start_ + chip_.groups[c] + 1;
        if (core.next == core.end) continue;
        core.due = start_ + steps.group[core.next] + 2;
        wake(a_sender, c, core.due);
    }
    host_next_ = steps.host_first[k];
    host_done_ = start_;
    if (host_next_ < steps.host_first[k + 1]) wake(the_host, 0, start_);

    std::vector<std::pair<int, int>> awake;
    while (true) {
        int64_t cycle = soon_.empty() ? never : now_ + 1;
        if (!later_.empty()) cycle = std::min(cycle, later_.front().first);
        if (cycle == never) break;
        if (cycle - start_ > limit)
            throw Stuck("step " + std::to_string(step_) + " has not ended after " + std::to_string(limit) + " cycles");
        awake.clear();
        if (cycle == now_ + 1) awake.swap(soon_);
        now_ = cycle;
        while (!later_.empty() && later_.front().first == cycle) {
            const auto [kind, index] = later_.front().second;
            std::pop_heap(later_.begin(), later_.end(), std::greater<Later>());
            later_.pop_back();
            if (awake_[kind][index] == cycle) continue;
            awake_[kind][index] = cycle;
            awake.push_back({kind, index});
        }
        for (const auto& [kind, index] : awake) {
            switch (kind) {
                case a_router: run_router(index); break;
                case a_sender: run_sender(index, steps); break;
                case a_receiver: run_receiver(index); break;
                default: run_host(steps, k);
            }
        }
        commit();
    }
    if (in_flight_ || host_next_ < steps.host_first[k + 1])
        throw Stuck("step " + std::to_string(step_) + " is deadlocked with " + std::to_string(in_flight_) + " flits");
    // All is quiet once the last of them is.
    int64_t quiet = std::max({start_, last_move_, host_done_});
    record_.step_start.push_back(start_);
    for (int c = 0; c < n; ++c) {
        const Core& core = cores_[c];
        int64_t idle = std::max(core.sent, core.received);
        if (chip_.groups[c]) idle = std::max(idle, core.swept + core.stalled + 1);
        record_.idle.push_back(idle);
        record_.stalled[c] += core.stalled;
        quiet = std::max(quiet, idle);
    }
    record_.step_quiet.push_back(quiet);
    start_ = quiet + p_.barrier + 2;
}

int Simulator::wanted(const Router& router, const Flit& flit) const {
    const int at = flit.core < 0 ? 0 : flit.core, x = at % p_.mesh_x, y = at / p_.mesh_x;
    if (x != router.x) return x > router.x ? east : west;
    if (y != router.y) return y > router.y ? south : north;
    return flit.core < 0 ? west : local;
}

void Simulator::run_router(int r) {
    Router& router = routers_[r];
    int wants[5];
    for (int i = 0; i < 5; ++i) wants[i] = router.input[i].count ? wanted(router, router.input[i].front()) : -1;
    bool granted = false;
    for (int o = 0; o < 5; ++o) {
        int chosen = -1;
        for (int step = 1; step <= 5 && chosen < 0; ++step)
            if (wants[(router.last[o] + step) % 5] == o) chosen = (router.last[o] + step) % 5;
        if (chosen < 0) continue;
        const Flit flit = router.input[chosen].front();
        const bool leaves = o == west && flit.core < 0 && r == 0;
        if (!leaves && !router.credit[o]) {
            if (router.waits_since[o] < 0) router.waits_since[o] = now_;
            continue;
        }
        if (router.waits_since[o] >= 0) record_.waiting[5 * r + o] += now_ - router.waits_since[o];
        router.waits_since[o] = -1;
        granted = true;
        router.last[o] = chosen;
        router.input[chosen].pop();
        --router.held;
        ++record_.flits[5 * r + o];
        if (keep_) record_.crossings.push_back({now_, r, o});
        last_move_ = std::max(last_move_, now_ + 1);
        switch (chosen) {  // the place that became free
            case north: credits_.push_back({r - p_.mesh_x, south}); break;
            case east: credits_.push_back({r + 1, west}); break;
            case south: credits_.push_back({r + p_.mesh_x, north}); break;
            case west: r % p_.mesh_x ? credits_.push_back({r - 1, east}) : credits_.push_back({the_host_port, 0}); break;
            default: credits_.push_back({r, to_sender});
        }
        if (leaves) {
            --in_flight_;
            if (keep_) record_.events[flit.event].left = now_;
            continue;
        }
        --router.credit[o];
        switch (o) {
            case north: pushes_.push_back({r - p_.mesh_x, south, flit}); break;
            case east: pushes_.push_back({r + 1, west, flit}); break;
            case south: pushes_.push_back({r + p_.mesh_x, north, flit}); break;
            case west: pushes_.push_back({r - 1, east, flit}); break;
            default: arrivals_.push_back({r, flit});
        }
        record_.hops += o != local;
    }
    if (granted && router.held) wake(a_router, r, now_ + 1);
}

int64_t Simulator::entered(int from, const Entry& entry) {
    ++in_flight_;
    if (!keep_) return 0;
    record_.events.push_back({now_, -1, from, entry.core, entry.axon, step_});
    return (int64_t)record_.events.size() - 1;
}

void Simulator::run_sender(int c, const Steps& steps) {
    Core& core = cores_[c];
    const int waiting = core.vector_count;  // both sides of the FIFO see what it was
    bool moved = false;

    const bool o_send = core.o_valid && core.credit;
    const bool issue = core.f_left && (!core.o_valid || o_send);
    const bool q_take = core.q_valid && (core.f_left == 0 || (core.f_left == 1 && issue));
    const bool pick = core.v_bits && (!core.q_valid || q_take);
    const bool load = waiting && (!core.v_bits || (pick && !(core.v_bits & (core.v_bits - 1))));
    if (o_send) {
        --core.credit;
        pushes_.push_back({c, local, {core.o.core, core.o.axon, entered(c, core.o)}});
        core.o_valid = false;
    } else if (core.o_valid && core.blocked_since < 0) {
        core.blocked_since = now_;
    }
    if (o_send && core.blocked_since >= 0) {
        record_.blocked[c] += now_ - core.blocked_since;
        core.blocked_since = -1;
    }
    if (issue) {
        core.o = chip_.entries[core.f_at++];
        core.o_valid = true;
        --core.f_left;
    }
    if (q_take) {
        core.f_left = core.q_count;
        core.f_at = core.q_first;
        core.q_valid = false;
    }
    if (pick) {
        const int64_t neuron =
            chip_.neuron_first[c] + (int64_t)core.v_group * p_.lanes + __builtin_ctz(core.v_bits);
        core.q_first = chip_.entry_first[neuron];
        core.q_count = (int32_t)(chip_.entry_first[neuron + 1] - core.q_first);
        core.q_valid = true;
        core.v_bits &= core.v_bits - 1;
    }
    if (load) {
        std::tie(core.v_group, core.v_bits) = core.vectors[core.vector_head];
        core.vector_head = (core.vector_head + 1) % p_.spike_depth;
        --core.vector_count;
    }
    moved = o_send || issue || q_take || pick || load;

    if (core.next < core.end && core.due <= now_) {
        if (waiting < p_.spike_depth) {
            core.stalled += now_ - core.due;
            const int32_t group = steps.group[core.next];
            core.vectors[(core.vector_head + core.vector_count++) % p_.spike_depth] = {group, steps.bits[core.next]};
            if (keep_) record_.fired.push_back({now_, c, group});
            moved = true;
            if (++core.next < core.end) {
                core.due = now_ + steps.group[core.next] - group;
                wake(a_sender, c, core.due);
            }
        }
    }
    if (moved) {
        core.sent = now_ + 1;
        wake(a_sender, c, now_ + 1);
    }
}

void Simulator::run_receiver(int c) {
    Core& core = cores_[c];
    const bool take = core.l_valid && now_ >= core.take_from;
    const bool pop = core.input.count && (!core.l_valid || take);
    if (take) {
        core.take_from = now_ + std::max(core.l_words, 1);
        core.received = std::max(core.received, core.l_words ? now_ + core.l_words + 3 : now_ + 1);
        record_.words[c] += core.l_words;
        core.l_valid = false;
        --in_flight_;
    }
    if (pop) {
        const Flit flit = core.input.front();
        core.input.pop();
        credits_.push_back({c, local});
        core.l_words = chip_.words[chip_.axon_first[c] + flit.axon];
        core.l_valid = true;
        if (keep_) record_.events[flit.event].left = now_;
    }
    if (core.l_valid) wake(a_receiver, c, std::max(now_ + 1, core.take_from));
}

void Simulator::run_host(const Steps& steps, int k) {
    const int64_t end = steps.host_first[k + 1];
    if (host_next_ == end || !host_credit_) return;
    --host_credit_;
    const Entry& entry = steps.host[host_next_++];
    pushes_.push_back({0, west, {entry.core, entry.axon, entered(-1, entry)}});
    host_done_ = now_ + 1;
    if (host_next_ < end) wake(the_host, 0, now_ + 1);
}

void Simulator::commit() {
    for (const auto& [r, port, flit] : pushes_) {
        Router& router = routers_[r];
        Fifo& fifo = router.input[port];
        fifo.push(flit);
        ++router.held;
        int32_t& fullest = record_.fullest[5 * r + port];
        fullest = std::max(fullest, (int32_t)fifo.count);
        wake(a_router, r, now_ + 1);
    }
    pushes_.clear();
    for (const auto& [c, flit] : arrivals_) {
        cores_[c].input.push(flit);
        wake(a_receiver, c, now_ + 1);
    }
    arrivals_.clear();
    for (const auto& [r, port] : credits_) {
        if (r == the_host_port) {
            ++host_credit_;
            wake(the_host, 0, now_ + 1);
        } else if (port == to_sender) {
            ++cores_[r].credit;
            if (cores_[r].o_valid) wake(a_sender, r, now_ + 1);
        } else {
            ++routers_[r].credit[port];
            if (routers_[r].held) wake(a_router, r, now_ + 1);
        }
    }
    credits_.clear();
}

}  // namespace nc1
