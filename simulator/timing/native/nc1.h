// nc1 in clock cycles, event by event: docs/nc1.md says what happens in a cycle, and this says when something does.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace nc1 {

struct Parameters {
    int mesh_x = 1, mesh_y = 1, lanes = 8;
    int router_depth = 4, input_depth = 8, spike_depth = 4, barrier = 4;
    int cores() const { return mesh_x * mesh_y; }
};

// A place that a neuron sends to.
struct Entry {
    int32_t core = 0;  // -1: the host
    int32_t axon = 0;
};

// What all cores hold, as far as time depends on it. `first` arrays have one number more than what they divide.
struct Chip {
    std::vector<int32_t> groups;                    // [cores]
    std::vector<int64_t> neuron_first, axon_first;  // [cores + 1], into the next two
    std::vector<int64_t> entry_first;               // [neurons + 1], into entries
    std::vector<int32_t> words;                     // [axons]
    std::vector<Entry> entries;
};

// What happens in some steps: who fires, and what the host sends.
struct Steps {
    int count = 0;
    std::vector<int64_t> vector_first;  // [count * cores + 1], into the next two
    std::vector<int32_t> group;
    std::vector<uint32_t> bits;       // of a group's lanes, never 0
    std::vector<int64_t> host_first;  // [count + 1], into the next
    std::vector<Entry> host;
};

struct Fired {
    int64_t cycle;
    int32_t core, group;
};
// A flit from the cycle in which it is put into its first FIFO to the one in which its core (or the host) takes it.
struct Event {
    int64_t entered, left;
    int32_t from, to, axon, step;  // from and to: a core, or -1 for the host
};

struct Crossing {
    int64_t cycle;
    int32_t router, output;
};

struct Record {
    std::vector<int64_t> step_start, step_quiet;  // [steps]
    std::vector<int64_t> idle;                    // [steps][cores]
    std::vector<Fired> fired;
    std::vector<Event> events;
    std::vector<Crossing> crossings;  // of links, and into cores
    // [cores]: words read, sweep cycles lost to a full spike FIFO, cycles in which a flit waited for credit
    std::vector<int64_t> words, stalled, blocked;
    std::vector<int64_t> flits;    // [cores][5], by output
    std::vector<int64_t> waiting;  // [cores][5], cycles in which an output had a head but no credit
    std::vector<int32_t> fullest;  // [cores][5], most flits in an input FIFO
    int64_t hops = 0;
};

struct Stuck : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Simulator {
public:
    Simulator(Parameters parameters, Chip chip);
    // Goes on from the last step; the record is of these steps, or with `events` false has none of the single ones.
    Record run(const Steps& steps, bool events, int64_t limit);

private:
    struct Flit {
        int32_t core, axon;  // core -1: the host
        int64_t event;
    };
    struct Fifo {
        std::vector<Flit> places;
        int head = 0, count = 0;
        const Flit& front() const { return places[head]; }
        void push(const Flit& flit) { places[(head + count++) % places.size()] = flit; }
        void pop() { head = (head + 1) % (int)places.size(), --count; }
    };
    struct Router {
        Fifo input[5];
        int credit[5] = {}, last[5] = {4, 4, 4, 4, 4};
        int x = 0, y = 0, held = 0;
        int64_t waits_since[5] = {-1, -1, -1, -1, -1};
    };
    struct Core {
        // sweep
        int64_t next = 0, end = 0;  // in Steps::group
        int64_t due = 0;            // when the next vector reaches U2
        int64_t stalled = 0;        // of this step
        int64_t swept = 0;          // idle from here on, but for what follows
        // sending
        std::vector<std::pair<int32_t, uint32_t>> vectors;
        int vector_head = 0, vector_count = 0;
        int32_t v_group = 0;
        uint32_t v_bits = 0;
        bool q_valid = false, o_valid = false;
        int64_t q_first = 0, f_at = 0;
        int32_t q_count = 0, f_left = 0;
        Entry o;
        int credit = 0;
        int64_t sent = 0, blocked_since = -1;
        // receiving
        Fifo input;
        bool l_valid = false;
        int32_t l_words = 0;
        int64_t take_from = 0, received = 0;
    };
    enum Kind { a_router, a_sender, a_receiver, the_host };
    struct Push {
        int router, port;
        Flit flit;
    };

    void wake(Kind kind, int index, int64_t cycle);
    void step(const Steps& steps, int step, int64_t limit);
    void run_router(int r);
    void run_sender(int c, const Steps& steps);
    void run_receiver(int c);
    void run_host(const Steps& steps, int step);
    void commit();
    int wanted(const Router& router, const Flit& flit) const;
    int64_t entered(int from, const Entry& entry);

    Parameters p_;
    Chip chip_;
    std::vector<Router> routers_;
    std::vector<Core> cores_;
    int host_credit_ = 0;
    int64_t host_next_ = 0, host_blocked_ = -1, host_done_ = 0;
    int64_t now_ = 0, start_ = 0, last_move_ = 0;
    int step_ = 0;
    bool keep_ = false;
    Record record_;
    // What is decided in a cycle is done after it.
    std::vector<Push> pushes_;
    std::vector<std::pair<int, Flit>> arrivals_;
    std::vector<std::pair<int, int>> credits_;  // router and output; output 5: its core's sender; router -1: the host
    // Who wakes in the next cycle, and who later.
    std::vector<std::pair<int, int>> soon_;
    std::vector<std::pair<int64_t, std::pair<int, int>>> later_;
    std::vector<int64_t> awake_[4];  // the cycle for which each is listed in soon_
    int64_t in_flight_ = 0;
};

}  // namespace nc1
