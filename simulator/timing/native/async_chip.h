// An asynchronous chip in picoseconds, event by event: cores that take messages, add synapses, update neurons and send
// messages, over a mesh of routers, with a barrier after each step. docs/timing.md says what happens when.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace async_chip {

// Directions of a mesh; what follows in a tile are the ports of its cores.
enum Direction { north, east, south, west, directions };

// In picoseconds.
struct Costs {
    int64_t access = 0, update = 0, spike = 0;  // of a neuron: whichever, active, fired
    int64_t message_out = 0;
    int64_t hop[directions] = {};  // crossing a link
    int64_t cycle[directions] = {};  // from one message on a link to the next
    int64_t tile = 0, tile_cycle = 0;  // the same, from a router into a core
    int64_t barrier = 0;
};

inline double seconds(int64_t picoseconds) { return (double)picoseconds / 1e12; }

struct Mesh {
    int width = 1, height = 1, cores_per_tile = 1;
    int link_depth = 16, core_depth = 16;  // messages in a router's input, and in a core's
    int tiles() const { return width * height; }
    int ports() const { return directions + cores_per_tile; }
};

// Neurons are numbered core after core, in the order in which they are updated; `first` arrays have one number more
// than what they divide.
struct Chip {
    std::vector<int32_t> core_x, core_y, core_port;  // [cores]
    std::vector<int64_t> neuron_first;               // [cores + 1], into neurons
    std::vector<int64_t> axon_first;                 // [neurons + 1], into the next two
    std::vector<int32_t> axon_core;                  // where a message goes
    std::vector<int64_t> axon_time;                  // how long its core works on it
    std::vector<double> axon_seconds;                // the same as SANA-FE sums it up; empty if not wanted
    int columns = 0;
    std::vector<int64_t> causes;  // [neurons][columns], what a firing causes, to be counted
    int cores() const { return (int)core_x.size(); }
    int64_t neurons() const { return neuron_first.back(); }
};

// Integrate-and-fire neurons with integer weights, in an order of their own: neurons that follow one another are added
// to in one go.
struct Network {
    std::vector<int64_t> number;                          // [neurons], in the chip's order
    std::vector<int32_t> threshold, bias, reset, start;   // fires above the threshold
    std::vector<uint8_t> subtracts;                       // the threshold, instead of being set to reset
    std::vector<int64_t> synapse_first;                   // [neurons + 1], into the next two
    std::vector<int32_t> target, weight;                  // targets rise
};

// Who fires, and which neurons are active, if the network is not simulated here. All are active if active_first is empty.
struct Spikes {
    int64_t count = 0;                               // steps
    std::vector<int64_t> fired_first, active_first;  // [count + 1], into the next two
    std::vector<int64_t> fired, active;              // numbers of neurons, which rise
};

// What the network between cores does.
enum Routing {
    links,    // routers with FIFOs that fill up, links that carry one message after the other
    density,  // an estimate from the messages on a route, SANA-FE's "detailed" model
    sanafe,   // the same in floating point, as SANA-FE has it
};

struct Event {
    int64_t step, neuron, axon;  // which message
    // when it is ready, leaves its core, reaches the other, is taken by it, and has been worked on
    int64_t ready, entered, arrived, taken, done;
};

struct Record {
    std::vector<int64_t> start, quiet;     // [steps]: first moment, and the one from which on nothing happens
    std::vector<int64_t> updated, fired;   // [steps]: neurons
    std::vector<int64_t> causes;           // [steps][columns]
    std::vector<int64_t> fires;            // [neurons]
    std::vector<int64_t> computing, working, blocked;  // [cores]: time spent on neurons and messages out, on messages in, waiting to send
    std::vector<int64_t> idle;             // [steps][cores]: since when a core has been
    std::vector<int64_t> messages, busy, waiting;  // [tiles][ports]: by output of a router
    std::vector<Event> events;
    std::vector<int64_t> spikes;           // [fired][2]: step and number, if events are kept
};

struct Stuck : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A step's spikes as cores send them; times are from the step's first moment on.
struct Work {
    struct Firing {
        int64_t delay;  // since the firing before
        int64_t neuron, axon, end;  // its axons
        double seconds;             // the delay as SANA-FE sums it up, if that is wanted
    };
    std::vector<Firing> firings;         // of neurons that have axons, core after core
    std::vector<int64_t> firing_first;   // [cores + 1], into firings
    std::vector<int64_t> rest;           // [cores]: what a core still does after its last firing
    std::vector<double> rest_seconds;
};

// What axons become: where messages go, by which way, and for how long they keep their core busy.
struct Axon {
    int32_t time, route;
};
struct Route {
    int64_t first;  // in links
    int64_t least;  // the time that its hops take
    int32_t hops, core;  // core: where it leads
};
struct Ways {
    std::vector<Axon> axons;
    std::vector<Route> routes;
    std::vector<double> seconds;  // of each axon, or empty
    std::vector<int32_t> links;   // hops + 1 of each route: where it enters a tile from, its own core first

    Ways(const Chip& chip, const Mesh& mesh, const Costs& costs);
};

class Neurons;
class Transport;

class Simulator {
public:
    // Steps do not wait for each other: several threads work on several of them.
    Simulator(Costs costs, Mesh mesh, Chip chip, Routing routing, int threads);
    ~Simulator();
    // Neurons that run computes itself.
    void simulate(const Network& network);
    Record run(int64_t steps, bool events);
    Record run(const Spikes& spikes, bool events);

private:
    template <class Fire>
    Record run(int64_t steps, bool events, Fire&& fire);
    void collect(int64_t step, Work& work);
    void account();
    std::vector<int64_t> bits() const;

    Costs costs_;
    Mesh mesh_;
    Chip chip_;
    Routing routing_;
    Ways ways_;
    std::vector<std::unique_ptr<Transport>> transports_;  // one for each thread
    std::unique_ptr<Neurons> neurons_;
    // Of this step: a bit for each neuron, each core's in words of its own.
    std::vector<int64_t> word_first_;
    std::vector<uint64_t> fired_, active_;
    int64_t start_ = 0, number_ = 0, before_ = 0;  // of the next step, and the number of this run's first
    bool keep_ = false;
    Record record_;
};

}  // namespace async_chip
