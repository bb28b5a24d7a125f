// Testbench of nc1: loads an image, plays host events, writes what happened in which cycle, and compares it if asked to.
//
//   +dir=PATH        folder with
//                      image.txt    lines "core mem addr data" (hex): the configuration
//                      samples.txt  "samples steps" (hex)
//                      events.txt   lines "sample step x y axon payload" (hex, payload in two's complement), sorted
//   +log=PATH        write the log there
//   +expected=PATH   compare every line of the log with the next line of this file
//   +membranes       log every update with its membranes, not only those that fire
//   +limit=CYCLES    give up after so many cycles (default 100000000)
//   +vcd=PATH        dump waves (Icarus)
//
// The log is ordered by cycle; within a cycle t, then core by core u (or f) before e, then h, then i, then d:
//
//   t CYCLE SAMPLE STEP                          first cycle of a step
//   u CYCLE CORE GROUP SPIKES MEMBRANES          an update (hex, lane 0 lowest); without +membranes
//   f CYCLE CORE GROUP SPIKES                    an update in which something fired
//   e CYCLE CORE AXON PAYLOAD                    an event leaves the input FIFO
//   h CYCLE AXON PAYLOAD                         a flit leaves at the host port
//   i SAMPLE STEP CORE CYCLE                     at the end of a step: the core has been idle since that cycle
//   d CYCLE                                      the last step's quiet was seen in this cycle
//
// The last line printed is one of "DONE N lines", "PASS N lines", "FAIL line K: ...", "TIMEOUT at cycle C", "ERROR ..."
// (Verilator adds a line of its own about $finish).

module nc1_testbench #(
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
    parameter BARRIER      = 4
);

    localparam CORES      = MESH_X * MESH_Y;
    localparam XB         = (MESH_X > 1) ? $clog2(MESH_X) : 1;
    localparam YB         = (MESH_Y > 1) ? $clog2(MESH_Y) : 1;
    localparam GB         = (NEURONS / LANES > 1) ? $clog2(NEURONS / LANES) : 1;
    localparam AB         = (AXONS > 1) ? $clog2(AXONS) : 1;
    localparam PB         = PAYLOAD_BITS;
    localparam FLIT_BITS  = 1 + XB + YB + AB + PB;
    localparam LINE_BYTES = LANES * STATE_BITS / 4 + LANES / 4 + 96;     // a `u` line, and room for five numbers
    localparam PATH_BYTES = 1024;

    reg          clk;
    reg          reset;
    reg          run;
    reg  [15:0]  steps;
    reg          cfg_we;
    reg  [15:0]  cfg_core;
    reg  [2:0]   cfg_mem;
    reg  [23:0]  cfg_addr;
    reg  [159:0] cfg_data;

    wire                              host_in_valid;
    wire [FLIT_BITS-1:0]              host_in_flit;
    wire                              host_in_ready;
    wire                              host_done;
    wire                              host_out_valid;
    wire [FLIT_BITS-1:0]              host_out_flit;
    wire                              begin_step;
    wire                              quiet;
    wire [15:0]                       step;
    wire [CORES-1:0]                  probe_update;
    wire [CORES*GB-1:0]               probe_group;
    wire [CORES*LANES-1:0]            probe_spikes;
    wire [CORES*LANES*STATE_BITS-1:0] probe_membranes;
    wire [CORES-1:0]                  probe_event;
    wire [CORES*AB-1:0]               probe_axon;
    wire [CORES*PB-1:0]               probe_payload;
    wire [CORES-1:0]                  idle;

    nc1 #(
        .MESH_X(MESH_X), .MESH_Y(MESH_Y), .LANES(LANES), .NEURONS(NEURONS), .AXONS(AXONS), .WORDS(WORDS),
        .FANOUT(FANOUT), .ROUTER_DEPTH(ROUTER_DEPTH), .INPUT_DEPTH(INPUT_DEPTH), .SPIKE_DEPTH(SPIKE_DEPTH),
        .WEIGHT_BITS(WEIGHT_BITS), .PAYLOAD_BITS(PAYLOAD_BITS), .ACC_BITS(ACC_BITS), .STATE_BITS(STATE_BITS),
        .BARRIER(BARRIER)
    ) chip (
        .clk(clk), .reset(reset), .run(run), .steps(steps),
        .cfg_we(cfg_we), .cfg_core(cfg_core), .cfg_mem(cfg_mem), .cfg_addr(cfg_addr), .cfg_data(cfg_data),
        .host_in_valid(host_in_valid), .host_in_flit(host_in_flit), .host_in_ready(host_in_ready),
        .host_done(host_done), .host_out_valid(host_out_valid), .host_out_flit(host_out_flit),
        .begin_step(begin_step), .quiet(quiet), .step(step),
        .probe_update(probe_update), .probe_group(probe_group), .probe_spikes(probe_spikes),
        .probe_membranes(probe_membranes), .probe_event(probe_event), .probe_axon(probe_axon),
        .probe_payload(probe_payload), .idle(idle)
    );

    // ------------------------------------------------------------------------------------------------------------------
    // Files and arguments

    reg [8*PATH_BYTES-1:0] dir;
    reg [8*PATH_BYTES-1:0] path;

    integer image_file;
    integer events_file;
    integer log_file;
    integer expected_file;
    integer samples_file;
    integer fields;
    integer samples;
    integer steps_read;
    reg     finished;
    reg     with_membranes;

    reg [63:0] limit;

    task open_to_read(output integer file);
        begin
            file = $fopen(path, "r");
            if (file == 0)
                stop_with_path("ERROR cannot open ");
        end
    endtask

    task stop_with_path(input [8*32-1:0] message);
        if (!finished) begin
            $display("%0s%0s", message, path);
            finished = 1'b1;
            $finish;
        end
    endtask

    initial begin
        clk            = 1'b0;
        reset          = 1'b1;
        finished       = 1'b0;
        log_file       = 0;
        expected_file  = 0;
        image_file     = 0;
        events_file    = 0;
        samples        = 0;
        steps_read     = 0;
        limit          = 64'd100000000;
        with_membranes = $test$plusargs("membranes") != 0;

        if ($value$plusargs("limit=%d", limit) == 0)
            limit = 64'd100000000;
        if ($value$plusargs("dir=%s", dir) == 0)
            dir = ".";

        $sformat(path, "%0s/samples.txt", dir);
        open_to_read(samples_file);
        if (!finished) begin
            fields = $fscanf(samples_file, "%h %h", samples, steps_read);
            if (fields != 2 || samples < 1 || steps_read < 1 || steps_read > 65535)
                stop_with_path("ERROR not understood: ");
            $fclose(samples_file);
        end
        $sformat(path, "%0s/image.txt", dir);
        open_to_read(image_file);
        $sformat(path, "%0s/events.txt", dir);
        open_to_read(events_file);
        if ($value$plusargs("expected=%s", path) != 0)
            open_to_read(expected_file);
        if ($value$plusargs("log=%s", path) != 0) begin
            log_file = $fopen(path, "w");
            if (log_file == 0)
                stop_with_path("ERROR cannot write ");
        end
`ifndef VERILATOR
        if ($value$plusargs("vcd=%s", path) != 0) begin
            $dumpfile(path);
            $dumpvars(0, nc1_testbench);
        end
`endif
    end

    always #1 if (!finished) clk = !clk;

    // ------------------------------------------------------------------------------------------------------------------
    // Reset, configuration, run. Everything that drives the chip changes at the rising edge, as the chip does.

    localparam [1:0] RESETTING = 2'd0, LOADING = 2'd1, RUNNING = 2'd2;

    reg [1:0] phase;
    reg [2:0] reset_cycles;

    reg [15:0]  image_core;
    reg [2:0]   image_mem;
    reg [23:0]  image_addr;
    reg [159:0] image_data;
    integer     image_fields;

    initial begin
        phase        = RESETTING;
        reset_cycles = 3'd0;
        run          = 1'b0;
        steps        = 16'd1;
        cfg_we       = 1'b0;
        cfg_core     = 16'd0;
        cfg_mem      = 3'd0;
        cfg_addr     = 24'd0;
        cfg_data     = 160'd0;
    end

    always @(posedge clk)
        case (phase)
            RESETTING: begin
                reset_cycles <= reset_cycles + 3'd1;
                if (reset_cycles == 3'd3) begin
                    reset <= 1'b0;
                    phase <= LOADING;
                end
            end
            LOADING: begin
                image_fields = $fscanf(image_file, "%h %h %h %h", image_core, image_mem, image_addr, image_data);
                if (image_fields == 4) begin
                    cfg_we   <= 1'b1;
                    cfg_core <= image_core;
                    cfg_mem  <= image_mem;
                    cfg_addr <= image_addr;
                    cfg_data <= image_data;
                end else if (image_fields > 0 || !$feof(image_file)) begin
                    $sformat(path, "%0s/image.txt", dir);
                    stop_with_path("ERROR not understood: ");
                end else begin
                    cfg_we <= 1'b0;
                    run    <= 1'b1;
                    steps  <= steps_read[15:0];
                    phase  <= RUNNING;
                end
            end
            default: ;
        endcase

    // ------------------------------------------------------------------------------------------------------------------
    // Where we are. `started` from the first step's first cycle on; cycle, sample and step change with the chip's step.

    reg        started;
    reg        first_cycle;
    reg [63:0] cycle;
    integer    sample;

    initial begin
        started     = 1'b0;
        first_cycle = 1'b0;
        cycle       = 64'd0;
        sample      = 0;
    end

    always @(posedge clk) begin
        first_cycle <= begin_step && !reset;
        if (begin_step && !reset) begin
            started <= 1'b1;
            if (started && step == steps - 16'd1)
                sample <= sample + 1;
        end
        if (started)
            cycle <= cycle + 64'd1;
    end

    // ------------------------------------------------------------------------------------------------------------------
    // Host events: the next one of the file, offered as long as it belongs to this step.

    reg              event_valid;
    integer          event_sample;
    integer          event_step;
    reg [XB-1:0]     event_x;
    reg [YB-1:0]     event_y;
    reg [AB-1:0]     event_axon;
    reg [PB-1:0]     event_payload;

    integer          next_sample;
    integer          next_step;
    reg [XB-1:0]     next_x;
    reg [YB-1:0]     next_y;
    reg [AB-1:0]     next_axon;
    reg [PB-1:0]     next_payload;
    integer          event_fields;

    assign host_in_valid = started && event_valid && event_sample == sample && event_step == {16'd0, step};
    assign host_in_flit  = {1'b0, event_x, event_y, event_axon, event_payload};
    assign host_done     = !host_in_valid;

    // The host port gives whole flits, of which the log shows axon and payload.
    wire unused = &{1'b0, host_out_flit};

    initial begin
        event_valid  = 1'b0;
        event_sample = 0;
        event_step   = 0;
    end

    always @(posedge clk)
        if ((phase == RESETTING && reset_cycles == 3'd3) || (host_in_valid && host_in_ready)) begin
            event_fields = $fscanf(events_file, "%h %h %h %h %h %h",
                                   next_sample, next_step, next_x, next_y, next_axon, next_payload);
            if (event_fields == 6) begin
                event_valid   <= 1'b1;
                event_sample  <= next_sample;
                event_step    <= next_step;
                event_x       <= next_x;
                event_y       <= next_y;
                event_axon    <= next_axon;
                event_payload <= next_payload;
                if (next_sample >= samples || next_step >= steps_read) begin
                    $sformat(path, "%0s/events.txt", dir);
                    stop_with_path("ERROR not within the samples: ");
                end
                if (next_sample < event_sample || (next_sample == event_sample && next_step < event_step)) begin
                    $sformat(path, "%0s/events.txt", dir);
                    stop_with_path("ERROR not sorted: ");
                end
            end else begin
                event_valid <= 1'b0;
                if (event_fields > 0 || !$feof(events_file)) begin
                    $sformat(path, "%0s/events.txt", dir);
                    stop_with_path("ERROR not understood: ");
                end
            end
        end

    // ------------------------------------------------------------------------------------------------------------------
    // The log. It looks at the falling edge, in the middle of a cycle, when everything has settled.

    reg [8*LINE_BYTES-1:0] line;
    reg [8*LINE_BYTES-1:0] expected;
    integer                got;
    integer                lines;

    initial lines = 0;

    // The next line of the expected file without its end.
    task read_expected;
        begin
            expected = {(8*LINE_BYTES){1'b0}};
            got = $fgets(expected, expected_file);
            if (got == 0)
                expected = "(end of file)";
            else begin
                if (expected[7:0] == 8'h0a)
                    expected = expected >> 8;
                if (expected[7:0] == 8'h0d)
                    expected = expected >> 8;
            end
        end
    endtask

    task emit;
        if (!finished) begin
            lines = lines + 1;
            if (log_file != 0)
                $fdisplay(log_file, "%0s", line);
            if (expected_file != 0) begin
                read_expected;
                if (line != expected)
                    fail;
            end
        end
    endtask

    task fail;
        begin
            close_log;
            $display("FAIL line %0d: got %0s expected %0s", lines, line, expected);
            finished = 1'b1;
            $finish;
        end
    endtask

    task close_log;
        if (log_file != 0)
            $fclose(log_file);
    endtask

    task done;
        if (!finished) begin
            if (expected_file != 0) begin
                read_expected;
                if (got != 0) begin
                    lines = lines + 1;
                    line = "(end)";
                    fail;
                end else
                    $display("PASS %0d lines", lines);
            end else
                $display("DONE %0d lines", lines);
            if (!finished) begin
                close_log;
                finished = 1'b1;
                $finish;
            end
        end
    endtask

    integer               c;
    integer               cores;                                // a variable: loops over it are not unrolled
    reg signed [PB-1:0]   payload;
    reg [64*CORES-1:0]    idle_since;                           // 64 bits a core

    initial begin
        cores      = CORES;
        idle_since = {(64*CORES){1'b0}};
    end

    always @(negedge clk)
        if (started && !finished) begin
            if (first_cycle) begin
                $sformat(line, "t %0d %0d %0d", cycle, sample, step);
                emit;
            end

            for (c = 0; c < cores; c = c + 1) begin
                if (probe_update[c]) begin
                    if (with_membranes) begin
                        $sformat(line, "u %0d %0d %0d %h %h", cycle, c, probe_group[c*GB +: GB],
                                 probe_spikes[c*LANES +: LANES],
                                 probe_membranes[c*LANES*STATE_BITS +: LANES*STATE_BITS]);
                        emit;
                    end else if (probe_spikes[c*LANES +: LANES] != {LANES{1'b0}}) begin
                        $sformat(line, "f %0d %0d %0d %h", cycle, c, probe_group[c*GB +: GB],
                                 probe_spikes[c*LANES +: LANES]);
                        emit;
                    end
                end
                if (probe_event[c]) begin
                    payload = probe_payload[c*PB +: PB];
                    $sformat(line, "e %0d %0d %0d %0d", cycle, c, probe_axon[c*AB +: AB], payload);
                    emit;
                end
                if (!idle[c])
                    idle_since[64*c +: 64] = cycle + 64'd1;
            end

            if (host_out_valid) begin
                payload = host_out_flit[PB-1:0];
                $sformat(line, "h %0d %0d %0d", cycle, host_out_flit[PB +: AB], payload);
                emit;
            end

            if (quiet) begin
                for (c = 0; c < cores; c = c + 1) begin
                    $sformat(line, "i %0d %0d %0d %0d", sample, step, c, idle_since[64*c +: 64]);
                    emit;
                end
                if (sample == samples - 1 && step == steps - 16'd1) begin
                    $sformat(line, "d %0d", cycle);
                    emit;
                    done;
                end
            end

            if (!finished && cycle >= limit) begin
                close_log;
                $display("TIMEOUT at cycle %0d", cycle);
                finished = 1'b1;
                $finish;
            end
        end

endmodule
