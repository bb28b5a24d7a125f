// Messages one by one, from FIFO to FIFO, along x and then along y.
//
// At one moment, messages arrive first, then cores finish, then outputs of routers try to send, then cores do, each in
// the order of their numbers. Outputs serve the inputs that want them in the order in which these came to want them.
#include <algorithm>
#include <functional>

#include "async_transport.h"

namespace async_chip {
namespace {

class Links final : public Transport {
public:
    Links(const Costs& costs, const Mesh& mesh, const Chip& chip, const Ways& ways);
    int64_t step(const Work& work, int64_t* idle, std::vector<Event>* events) override;

private:
    struct Message {
        int64_t axon, neuron, ready, entered, arrived;
    };
    struct Output {
        Ring<int32_t> wanted_by;  // inputs whose head wants this output, in order
        int64_t free_at = 0, waits_since = -1;
        int32_t credit = 0;           // free places behind it
        int32_t next = -1, core = -1;  // the input that it feeds, or the core
        int64_t latency = 0, cycle = 0;
    };
    // An output's number is that of the input of its direction, or that of its core's sender.
    struct Input {
        Ring<Message> queue;
        int32_t feeder = -1, sender = -1;  // the output that feeds it, or the core
    };
    struct Core {
        // sending
        int64_t firing = 0, axon = 0, ready = 0;
        bool any = false, stalled = false;
        // receiving
        Ring<Message> queue;
        bool works = false;
        int64_t free_at = 0;
        int32_t port = 0;  // its input and output of the router
    };
    enum Kind { an_arrival, a_receiver, an_output, a_sender };
    struct Due {
        int64_t time;
        int32_t kind, index;
        Message message;
        bool operator>(const Due& other) const {
            if (time != other.time) return time > other.time;
            if (kind != other.kind) return kind > other.kind;
            return index > other.index;
        }
    };
    void push(int64_t time, Kind kind, int index, const Message& message = {}) {
        due_.push_back({time, kind, index, message});
        std::push_heap(due_.begin(), due_.end(), std::greater<Due>());
    }
    bool next_message(int c, int64_t after);
    void try_sender(int c, int64_t now);
    void enter(int input, const Message& message, int64_t now);
    int output_of(int input, const Message& message) const;
    void want(int input, int64_t now);
    void try_output(int o, int64_t now);
    void give_credit(int o, int64_t now);
    void receive(int c, int64_t now);

    const Costs& costs_;
    const Mesh& mesh_;
    const Chip& chip_;
    const Ways& ways_;
    std::vector<Output> outputs_;
    std::vector<Input> inputs_;
    std::vector<Core> cores_;
    std::vector<Due> due_;
    // of this step
    const Work* work_ = nullptr;
    int64_t* idle_ = nullptr;
    std::vector<Event>* events_ = nullptr;
    int64_t in_flight_ = 0;
};

Links::Links(const Costs& costs, const Mesh& mesh, const Chip& chip, const Ways& ways)
    : costs_(costs), mesh_(mesh), chip_(chip), ways_(ways) {
    const size_t ports = (size_t)(mesh.tiles() * mesh.ports());
    inputs_.resize(ports), outputs_.resize(ports), cores_.resize((size_t)chip.cores());
    const auto number = [&](int x, int y, int port) { return (x * mesh.height + y) * mesh.ports() + port; };
    // What leaves to the east enters the next tile as "east".
    const int dx[] = {0, 1, 0, -1}, dy[] = {1, 0, -1, 0};
    for (int x = 0; x < mesh.width; ++x)
        for (int y = 0; y < mesh.height; ++y)
            for (int d = 0; d < directions; ++d) {
                const int to_x = x + dx[d], to_y = y + dy[d];
                if (to_x < 0 || to_y < 0 || to_x >= mesh.width || to_y >= mesh.height) continue;
                Output& output = outputs_[number(x, y, d)];
                output.next = number(to_x, to_y, d);
                output.credit = mesh.link_depth;
                output.latency = costs.hop[d], output.cycle = costs.cycle[d];
                inputs_[output.next].feeder = number(x, y, d);
            }
    for (int c = 0; c < chip.cores(); ++c) {
        const int port = number(chip.core_x[c], chip.core_y[c], directions + chip.core_port[c]);
        Output& output = outputs_[port];
        output.core = c;
        output.credit = mesh.core_depth;
        output.latency = costs.tile, output.cycle = costs.tile_cycle;
        inputs_[port].sender = c;
        cores_[c].port = port;
    }
}

int64_t Links::step(const Work& work, int64_t* idle, std::vector<Event>* events) {
    work_ = &work, idle_ = idle, events_ = events;
    in_flight_ = 0;
    for (Output& output : outputs_) output.free_at = 0;
    for (int c = 0; c < chip_.cores(); ++c) {
        Core& core = cores_[c];
        core.firing = work.firing_first[c] - 1;
        core.any = core.stalled = false;
        core.free_at = 0;
        if (next_message(c, 0)) push(core.ready, a_sender, c);
    }
    while (!due_.empty()) {
        const Due due = due_.front();
        std::pop_heap(due_.begin(), due_.end(), std::greater<Due>());
        due_.pop_back();
        switch (due.kind) {
            case an_arrival: {
                const Output& output = outputs_[due.index];
                if (output.next >= 0) {
                    enter(output.next, due.message, due.time);
                } else {
                    cores_[output.core].queue.push(due.message);
                    receive(output.core, due.time);
                }
                break;
            }
            case a_receiver:
                cores_[due.index].works = false;
                receive(due.index, due.time);
                break;
            case an_output: try_output(due.index, due.time); break;
            default: try_sender(due.index, due.time);
        }
    }
    if (in_flight_) throw Stuck("a step is deadlocked with " + std::to_string(in_flight_) + " messages");
    int64_t last = 0;
    for (int c = 0; c < chip_.cores(); ++c) last = std::max(last, idle[c] = std::max(idle[c], cores_[c].free_at));
    return last;
}

// The core's next message; without one, the core updates its last neurons.
bool Links::next_message(int c, int64_t after) {
    Core& core = cores_[c];
    const bool same = core.any && core.axon + 1 < work_->firings[core.firing].end;
    core.any = same || ++core.firing < work_->firing_first[c + 1];
    if (!core.any) {
        idle_[c] = after + work_->rest[c];
        return false;
    }
    const Work::Firing& firing = work_->firings[core.firing];
    core.axon = same ? core.axon + 1 : firing.axon;
    core.ready = after + (same ? 0 : firing.delay) + costs_.message_out;
    return true;
}

void Links::try_sender(int c, int64_t now) {
    Core& core = cores_[c];
    if (!core.any || now < core.ready) return;
    core.stalled = inputs_[core.port].queue.size() >= (size_t)mesh_.link_depth;
    if (core.stalled) return;
    blocked[c] += now - core.ready;
    ++in_flight_;
    enter(core.port, {core.axon, work_->firings[core.firing].neuron, core.ready, now, 0}, now);
    if (next_message(c, now)) push(core.ready, a_sender, c);
}

void Links::enter(int input, const Message& message, int64_t now) {
    inputs_[input].queue.push(message);
    if (inputs_[input].queue.size() == 1) want(input, now);
}

int Links::output_of(int input, const Message& message) const {
    const int core = ways_.routes[ways_.axons[message.axon].route].core, tile = input / mesh_.ports();
    const int x = tile / mesh_.height, y = tile % mesh_.height;
    int port = directions + chip_.core_port[core];
    if (x != chip_.core_x[core])
        port = x < chip_.core_x[core] ? east : west;
    else if (y != chip_.core_y[core])
        port = y < chip_.core_y[core] ? north : south;
    return tile * mesh_.ports() + port;
}

// The head of an input has come to want an output.
void Links::want(int input, int64_t now) {
    const int o = output_of(input, inputs_[input].queue.front());
    outputs_[o].wanted_by.push(input);
    if (outputs_[o].wanted_by.size() == 1) push(std::max(now, outputs_[o].free_at), an_output, o);
}

void Links::give_credit(int o, int64_t now) {
    Output& output = outputs_[o];
    if (!output.credit++ && output.wanted_by.size()) push(std::max(now, output.free_at), an_output, o);
}

void Links::try_output(int o, int64_t now) {
    Output& output = outputs_[o];
    if (!output.wanted_by.size() || now < output.free_at) return;
    if (!output.credit) {
        if (output.waits_since < 0) output.waits_since = now;
        return;
    }
    if (output.waits_since >= 0) waiting[o] += now - output.waits_since;
    output.waits_since = -1;
    const int from = output.wanted_by.front();
    output.wanted_by.pop();
    Input& input = inputs_[from];
    Message message = input.queue.front();
    input.queue.pop();
    --output.credit;
    output.free_at = now + output.cycle;
    ++messages[o];
    busy[o] += output.cycle;
    message.arrived = now + output.latency;
    push(message.arrived, an_arrival, o, message);
    if (input.feeder >= 0)
        give_credit(input.feeder, now);
    else if (cores_[input.sender].stalled)
        push(now, a_sender, input.sender);
    if (input.queue.size()) want(from, now);
    if (output.wanted_by.size()) push(output.free_at, an_output, o);
}

void Links::receive(int c, int64_t now) {
    Core& core = cores_[c];
    if (core.works || !core.queue.size()) return;
    const Message message = core.queue.front();
    core.queue.pop();
    core.works = true;
    core.free_at = now + ways_.axons[message.axon].time;
    push(core.free_at, a_receiver, c);
    give_credit(core.port, now);
    --in_flight_;
    if (events_)
        events_->push_back({0, message.neuron, message.axon, message.ready, message.entered, message.arrived, now, core.free_at});
}

}  // namespace

std::unique_ptr<Transport> links_of(const Costs& costs, const Mesh& mesh, const Chip& chip, const Ways& ways) {
    return std::make_unique<Links>(costs, mesh, chip, ways);
}

}  // namespace async_chip
