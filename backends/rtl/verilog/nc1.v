// nc1: a mesh of cores and routers, the step barrier, the configuration bus and the host port.

module nc1 #(
    parameter MESH_X       = 2,
    parameter MESH_Y       = 2,
    parameter LANES        = 8,
    parameter NEURONS      = 256,
    parameter AXONS        = 4096,
    parameter WORDS        = 16384,
    parameter FANOUT       = 4096,
    parameter ROUTER_DEPTH = 4,
    parameter INPUT_DEPTH  = 8,
    parameter SPIKE_DEPTH  = 4,
    parameter WEIGHT_BITS  = 8,
    parameter PAYLOAD_BITS = 9,
    parameter ACC_BITS     = 24,
    parameter STATE_BITS   = 24,
    parameter BARRIER      = 4,
    // Widths that follow from the above; not to be set.
    parameter CORES        = MESH_X * MESH_Y,
    parameter XB           = (MESH_X > 1) ? $clog2(MESH_X) : 1,
    parameter YB           = (MESH_Y > 1) ? $clog2(MESH_Y) : 1,
    parameter GB           = (NEURONS / LANES > 1) ? $clog2(NEURONS / LANES) : 1,
    parameter AB           = (AXONS > 1) ? $clog2(AXONS) : 1,
    parameter FLIT_BITS    = 1 + XB + YB + AB + PAYLOAD_BITS
) (
    input  wire                              clk,
    input  wire                              reset,

    // Steps begin while `run` is high. If it falls, the step in progress is finished and the chip waits.
    input  wire                              run,
    input  wire [15:0]                       steps,             // of a sample

    // Configuration bus, used while `run` is low and no step is in progress.
    input  wire                              cfg_we,
    input  wire [15:0]                       cfg_core,
    input  wire [2:0]                        cfg_mem,
    input  wire [23:0]                       cfg_addr,
    input  wire [159:0]                      cfg_data,

    // Host port: the west side of router (0, 0). A flit enters when both `valid` and `ready` are high.
    input  wire                              host_in_valid,
    input  wire [FLIT_BITS-1:0]              host_in_flit,
    output wire                              host_in_ready,     // there is credit
    input  wire                              host_done,         // no more flits in this step
    output wire                              host_out_valid,
    output wire [FLIT_BITS-1:0]              host_out_flit,

    // Progress
    output wire                              begin_step,        // the next cycle is the first of a step
    output wire                              quiet,             // this cycle is the one in which a step ended
    output wire [15:0]                       step,

    // Observation, over all cores, core 0 lowest
    output wire [CORES-1:0]                  probe_update,
    output wire [CORES*GB-1:0]               probe_group,
    output wire [CORES*LANES-1:0]            probe_spikes,
    output wire [CORES*LANES*STATE_BITS-1:0] probe_membranes,
    output wire [CORES-1:0]                  probe_event,
    output wire [CORES*AB-1:0]               probe_axon,
    output wire [CORES*PAYLOAD_BITS-1:0]     probe_payload,
    output wire [CORES-1:0]                  idle
);

    localparam NORTH = 0, EAST = 1, SOUTH = 2, WEST = 3, LOCAL = 4;

    localparam FW = FLIT_BITS;
    localparam HB = $clog2(ROUTER_DEPTH + 1);
    localparam BB = $clog2(BARRIER + 2);

    localparam integer  PLACES_INT     = ROUTER_DEPTH;
    localparam integer  BARRIER_INT    = BARRIER;
    localparam [HB-1:0] ROUTER_PLACES  = PLACES_INT[HB-1:0];
    localparam [BB-1:0] BARRIER_CYCLES = BARRIER_INT[BB-1:0];

    wire [CORES-1:0] router_idle;

    // ------------------------------------------------------------------------------------------------------------------
    // Barrier: quiet in cycle q, then BARRIER cycles for the news to go round, then `begin_step`.

    reg          waiting;                                       // between two steps, or before the first
    reg          fresh;                                         // before the first step
    reg [BB-1:0] wait_left;
    reg [15:0]   step_number;
    reg          parity;                                        // the bank of the accumulators that is swept

    assign quiet      = !waiting && (&idle) && (&router_idle) && host_done;
    assign begin_step = waiting && (wait_left == {BB{1'b0}}) && run;
    assign step       = step_number;

    always @(posedge clk)
        if (reset) begin
            waiting   <= 1'b1;
            wait_left <= {BB{1'b0}};
        end else if (quiet) begin
            waiting   <= 1'b1;
            wait_left <= BARRIER_CYCLES;
        end else if (begin_step)
            waiting   <= 1'b0;
        else if (waiting && wait_left != {BB{1'b0}})
            wait_left <= wait_left - 1'b1;

    always @(posedge clk)
        if (reset) begin
            fresh       <= 1'b1;
            step_number <= 16'd0;
            parity      <= 1'b0;
        end else if (begin_step) begin
            fresh       <= 1'b0;
            step_number <= (fresh || step_number == steps - 16'd1) ? 16'd0 : step_number + 16'd1;
            parity      <= !parity;
        end

    // ------------------------------------------------------------------------------------------------------------------
    // Host port: credits for the west input of router (0, 0).

    reg [HB-1:0] host_credits;

    wire         host_enters = host_in_valid && host_in_ready;
    wire         host_credit;

    assign host_in_ready = (host_credits != {HB{1'b0}});

    always @(posedge clk)
        if (reset)
            host_credits <= ROUTER_PLACES;
        else if (host_enters && !host_credit)
            host_credits <= host_credits - 1'b1;
        else if (host_credit && !host_enters)
            host_credits <= host_credits + 1'b1;

    // ------------------------------------------------------------------------------------------------------------------
    // Mesh. The wires of all routers in one vector each: bit 5 * core + port.

    wire [5*CORES-1:0]    in_valid;
    wire [5*CORES*FW-1:0] in_flit;
    wire [5*CORES-1:0]    in_credit;
    wire [5*CORES-1:0]    out_valid;
    wire [5*CORES*FW-1:0] out_flit;
    wire [5*CORES-1:0]    out_credit;

    assign host_out_valid = out_valid[WEST];
    assign host_out_flit  = out_flit[WEST*FW +: FW];
    assign host_credit    = in_credit[WEST];

    // The outputs at the edge of the mesh lead nowhere.
    wire unused = &{1'b0, out_valid, out_flit, in_credit};

    genvar x, y, d;

    generate
        for (y = 0; y < MESH_Y; y = y + 1) begin : rows
            for (x = 0; x < MESH_X; x = x + 1) begin : columns
                localparam integer CORE  = y * MESH_X + x;
                localparam [15:0]  CORE_NUMBER = CORE[15:0];
                localparam integer X_INT = x;
                localparam integer Y_INT = y;
                localparam [XB-1:0] HERE_X = X_INT[XB-1:0];
                localparam [YB-1:0] HERE_Y = Y_INT[YB-1:0];

                for (d = NORTH; d <= WEST; d = d + 1) begin : sides
                    // The neighbour on this side and its port that faces us.
                    localparam integer HERE   = 5 * CORE + d;
                    localparam integer INSIDE = (d == NORTH) ? ((y > 0) ? 1 : 0)
                                              : (d == EAST)  ? ((x < MESH_X - 1) ? 1 : 0)
                                              : (d == SOUTH) ? ((y < MESH_Y - 1) ? 1 : 0)
                                              :                ((x > 0) ? 1 : 0);
                    localparam integer THERE  = (d == NORTH) ? 5 * (CORE - MESH_X) + SOUTH
                                              : (d == EAST)  ? 5 * (CORE + 1) + WEST
                                              : (d == SOUTH) ? 5 * (CORE + MESH_X) + NORTH
                                              :                5 * (CORE - 1) + EAST;

                    if (INSIDE != 0) begin : link
                        assign in_valid[HERE]          = out_valid[THERE];
                        assign in_flit[HERE*FW +: FW]  = out_flit[THERE*FW +: FW];
                        assign out_credit[HERE]        = in_credit[THERE];
                    end else if (CORE == 0 && d == WEST) begin : host
                        assign in_valid[HERE]          = host_enters;
                        assign in_flit[HERE*FW +: FW]  = host_in_flit;
                        assign out_credit[HERE]        = 1'b0;
                    end else begin : edge_of_mesh
                        assign in_valid[HERE]          = 1'b0;
                        assign in_flit[HERE*FW +: FW]  = {FW{1'b0}};
                        assign out_credit[HERE]        = 1'b0;
                    end
                end

                nc1_router #(
                    .MESH_X(MESH_X), .MESH_Y(MESH_Y),
                    .ROUTER_DEPTH(ROUTER_DEPTH), .INPUT_DEPTH(INPUT_DEPTH),
                    .XB(XB), .YB(YB), .FLIT_BITS(FW)
                ) router (
                    .clk(clk), .reset(reset), .here_x(HERE_X), .here_y(HERE_Y),
                    .in_valid(in_valid[5*CORE +: 5]), .in_flit(in_flit[5*CORE*FW +: 5*FW]),
                    .in_credit(in_credit[5*CORE +: 5]),
                    .out_valid(out_valid[5*CORE +: 5]), .out_flit(out_flit[5*CORE*FW +: 5*FW]),
                    .out_credit(out_credit[5*CORE +: 5]),
                    .idle(router_idle[CORE])
                );

                nc1_core #(
                    .LANES(LANES), .NEURONS(NEURONS), .AXONS(AXONS), .WORDS(WORDS), .FANOUT(FANOUT),
                    .ROUTER_DEPTH(ROUTER_DEPTH), .INPUT_DEPTH(INPUT_DEPTH), .SPIKE_DEPTH(SPIKE_DEPTH),
                    .WEIGHT_BITS(WEIGHT_BITS), .PAYLOAD_BITS(PAYLOAD_BITS),
                    .ACC_BITS(ACC_BITS), .STATE_BITS(STATE_BITS), .XB(XB), .YB(YB)
                ) core (
                    .clk(clk), .reset(reset),
                    .cfg_we(cfg_we && !run && cfg_core == CORE_NUMBER),
                    .cfg_mem(cfg_mem), .cfg_addr(cfg_addr), .cfg_data(cfg_data),
                    .begin_step(begin_step), .step(step_number), .parity(parity), .idle(idle[CORE]),
                    .o_send(in_valid[5*CORE + LOCAL]), .o_flit(in_flit[(5*CORE + LOCAL)*FW +: FW]),
                    .o_credit(in_credit[5*CORE + LOCAL]),
                    .in_valid(out_valid[5*CORE + LOCAL]), .in_flit(out_flit[(5*CORE + LOCAL)*FW +: FW]),
                    .in_credit(out_credit[5*CORE + LOCAL]),
                    .probe_update(probe_update[CORE]),
                    .probe_group(probe_group[CORE*GB +: GB]),
                    .probe_spikes(probe_spikes[CORE*LANES +: LANES]),
                    .probe_membranes(probe_membranes[CORE*LANES*STATE_BITS +: LANES*STATE_BITS]),
                    .probe_event(probe_event[CORE]),
                    .probe_axon(probe_axon[CORE*AB +: AB]),
                    .probe_payload(probe_payload[CORE*PAYLOAD_BITS +: PAYLOAD_BITS])
                );
            end
        end
    endgenerate

endmodule
