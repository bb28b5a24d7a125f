// A core: neurons and their synapses, swept over once a step.
//
//   sweep      U0 -> U1 -> U2 -> spike FIFO        the neurons' step, from bank `parity` of the accumulators
//   sending    spike FIFO -> V -> Q -> F -> O      spikes become flits: pointer, then entries of the fan-out
//   receiving  input FIFO -> L -> S -> M1 -> M2    events become sums in the other bank
//
// The three run at the same time. The stages of the sweep move together (`adv`); sending and receiving stall stage by stage.

module nc1_core #(
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
    parameter XB           = 1,
    parameter YB           = 1,
    // Widths that follow from the above; not to be set.
    parameter GROUPS       = NEURONS / LANES,
    parameter GB           = (GROUPS > 1) ? $clog2(GROUPS) : 1,
    parameter AB           = (AXONS > 1) ? $clog2(AXONS) : 1,
    parameter FLIT_BITS    = 1 + XB + YB + AB + PAYLOAD_BITS
) (
    input  wire                        clk,
    input  wire                        reset,

    // configuration, a word a cycle
    input  wire                        cfg_we,
    input  wire [2:0]                  cfg_mem,
    input  wire [23:0]                 cfg_addr,
    input  wire [159:0]                cfg_data,

    // from the barrier
    input  wire                        begin_step,  // the next cycle is the first of a step
    input  wire [15:0]                 step,
    input  wire                        parity,      // the bank that is swept
    output wire                        idle,

    // to and from the local port of the router
    output wire                        o_send,
    output wire [FLIT_BITS-1:0]        o_flit,
    input  wire                        o_credit,    // a flit left the router's local input FIFO
    input  wire                        in_valid,
    input  wire [FLIT_BITS-1:0]        in_flit,
    output wire                        in_credit,   // an event left the input FIFO

    // for observation
    output wire                        probe_update,
    output wire [GB-1:0]               probe_group,
    output wire [LANES-1:0]            probe_spikes,
    output wire [LANES*STATE_BITS-1:0] probe_membranes,
    output wire                        probe_event,
    output wire [AB-1:0]               probe_axon,
    output wire [PAYLOAD_BITS-1:0]     probe_payload
);

    /* verilator no_inline_module */   // else its code is compiled once for each place of the mesh, in one large function

    localparam SB = STATE_BITS;
    localparam LB = $clog2(LANES);
    localparam NB = (NEURONS > 1) ? $clog2(NEURONS) : 1;
    localparam WB = (WORDS > 1) ? $clog2(WORDS) : 1;
    localparam FB = (FANOUT > 1) ? $clog2(FANOUT) : 1;
    localparam CB = $clog2(ROUTER_DEPTH + 1);

    localparam NEURON_BITS  = 4 * SB + 20;
    localparam ENTRY_BITS   = 1 + XB + YB + AB;
    localparam PRODUCT_BITS = WEIGHT_BITS + PAYLOAD_BITS;

    localparam [2:0] MEM_AXONS = 3'd0, MEM_SYNAPSES = 3'd1, MEM_NEURONS  = 3'd2, MEM_KINDS   = 3'd3,
                     MEM_TABLE = 3'd4, MEM_POINTERS = 3'd5, MEM_ENTRIES  = 3'd6, MEM_SIZE    = 3'd7;

    localparam integer            PLACES_INT    = ROUTER_DEPTH;
    localparam [CB-1:0]           ROUTER_PLACES = PLACES_INT[CB-1:0];
    localparam [PAYLOAD_BITS-1:0] SPIKE_PAYLOAD = 1;

    genvar l, b;

    // ------------------------------------------------------------------------------------------------------------------
    // Size: the groups in use. A memory of one word, which is why reset leaves it alone; 0, so that a core that the host says
    // nothing about is not used.

    reg [GB:0] size;

    initial size = {(GB+1){1'b0}};

    always @(posedge clk)
        if (cfg_we && cfg_mem == MEM_SIZE)
            size <= cfg_data[GB:0];

    // ------------------------------------------------------------------------------------------------------------------
    // Sweep

    wire             adv;

    reg              u0_valid;                      // sweeping
    reg  [GB-1:0]    u0_group;
    reg              u1_valid;
    reg  [GB-1:0]    u1_group;
    reg              u2_valid;
    reg  [GB-1:0]    u2_group;

    wire             u0_read = u0_valid && adv;
    wire             u0_last = ({1'b0, u0_group} + 1'b1 == size);

    always @(posedge clk)
        if (reset) begin
            u0_valid <= 1'b0;
            u0_group <= {GB{1'b0}};
            u1_valid <= 1'b0;
            u2_valid <= 1'b0;
        end else begin
            if (begin_step) begin
                u0_valid <= (size != {(GB+1){1'b0}});
                u0_group <= {GB{1'b0}};
            end else if (u0_read) begin
                u0_valid <= !u0_last;
                u0_group <= u0_group + 1'b1;
            end
            if (adv) begin
                u1_valid <= u0_valid;
                u2_valid <= u1_valid;
            end
        end

    always @(posedge clk)
        if (adv) begin
            u1_group <= u0_group;
            u2_group <= u1_group;
        end

    // U0 reads, U1 has: the group's neurons (a bank a lane, because the host writes them one by one), membranes, kind, and
    // accumulators (below, with those that receive).
    wire [LANES*SB-1:0]       u1_membranes;
    wire [3:0]                u1_kind;
    wire [LANES*ACC_BITS-1:0] u1_acc;

    wire [LANES*SB-1:0]       u2_v_new;
    wire                      u2_write;

    nc1_memory #(.DEPTH(GROUPS), .WIDTH(LANES*SB), .ADDR_BITS(GB), .ZERO(1)) membranes (
        .clk(clk),
        .we(u2_write), .waddr(u2_group), .wdata(u2_v_new),
        .re(u0_read), .raddr(u0_group), .rdata(u1_membranes)
    );

    nc1_memory #(.DEPTH(GROUPS), .WIDTH(4), .ADDR_BITS(GB)) kinds (
        .clk(clk),
        .we(cfg_we && cfg_mem == MEM_KINDS), .waddr(cfg_addr[GB-1:0]), .wdata(cfg_data[3:0]),
        .re(u0_read), .raddr(u0_group), .rdata(u1_kind)
    );

    // The kind table is looked up within U1, because `start` chooses the membrane that U1 multiplies: sixteen words of
    // registers, not a block memory.
    reg  [39:0] kind_table [0:15];

    always @(posedge clk)
        if (cfg_we && cfg_mem == MEM_TABLE)
            kind_table[cfg_addr[3:0]] <= cfg_data[39:0];

    wire [39:0] u1_entry = kind_table[u1_kind];
    wire [15:0] u1_start = u1_entry[15:0];
    wire [15:0] u1_stop  = u1_entry[31:16];

    reg         u2_active;                          // start <= step < stop
    reg  [1:0]  u2_mode;
    reg  [5:0]  u2_shift;

    always @(posedge clk)
        if (adv) begin
            u2_active <= (u1_start <= step) && (step < u1_stop);
            u2_mode   <= u1_entry[33:32];
            u2_shift  <= u1_entry[39:34];
        end

    wire [LANES-1:0] u2_fires;

    generate
        for (l = 0; l < LANES; l = l + 1) begin : lanes
            localparam integer  LANE_INT = l;
            localparam [LB-1:0] LANE     = LANE_INT[LB-1:0];

            wire [NEURON_BITS-1:0] u1_neuron;

            nc1_memory #(.DEPTH(GROUPS), .WIDTH(NEURON_BITS), .ADDR_BITS(GB)) neurons (
                .clk(clk),
                .we(cfg_we && cfg_mem == MEM_NEURONS && cfg_addr[LB-1:0] == LANE),
                .waddr(cfg_addr[LB +: GB]), .wdata(cfg_data[NEURON_BITS-1:0]),
                .re(u0_read), .raddr(u0_group), .rdata(u1_neuron)
            );

            wire signed [SB:0]   u1_threshold = u1_neuron[0 +: SB+1];
            wire                 u1_flip      = u1_neuron[SB+1];
            wire signed [SB-1:0] u1_bias      = u1_neuron[SB+2 +: SB];
            wire signed [17:0]   u1_decay     = u1_neuron[2*SB+2 +: 18];
            wire signed [SB-1:0] u1_rest      = u1_neuron[2*SB+20 +: SB];
            wire signed [SB-1:0] u1_init      = u1_neuron[3*SB+20 +: SB];

            wire signed [SB-1:0] u1_v = (step == u1_start) ? u1_init : u1_membranes[l*SB +: SB];

            reg signed [SB+17:0]      u2_product;
            reg signed [ACC_BITS-1:0] u2_acc;
            reg signed [SB:0]         u2_threshold;
            reg                       u2_flip;
            reg signed [SB-1:0]       u2_bias;
            reg signed [SB-1:0]       u2_rest;

            always @(posedge clk)
                if (adv) begin
                    u2_product   <= $signed({{SB{u1_decay[17]}}, u1_decay}) * $signed({{18{u1_v[SB-1]}}, u1_v});
                    u2_acc       <= u1_acc[l*ACC_BITS +: ACC_BITS];
                    u2_threshold <= u1_threshold;
                    u2_flip      <= u1_flip;
                    u2_bias      <= u1_bias;
                    u2_rest      <= u1_rest;
                end

            nc1_neuron #(.ACC_BITS(ACC_BITS), .STATE_BITS(SB)) neuron (
                .acc(u2_acc), .shift(u2_shift), .product(u2_product), .bias(u2_bias),
                .threshold(u2_threshold), .flip(u2_flip), .rest(u2_rest), .mode(u2_mode),
                .spike(u2_fires[l]), .v_new(u2_v_new[l*SB +: SB])
            );
        end
    endgenerate

    // A group out of its time fires nothing, so it does not wait for the spike FIFO either.
    wire [LANES-1:0] u2_spikes = u2_active ? u2_fires : {LANES{1'b0}};
    wire             u2_any    = (u2_spikes != {LANES{1'b0}});
    wire             spike_fifo_full;

    assign adv      = !(u2_valid && u2_any && spike_fifo_full);
    assign u2_write = u2_valid && adv && u2_active;

    // ------------------------------------------------------------------------------------------------------------------
    // Sending

    wire                spike_fifo_empty;
    wire [GB-1:0]       spike_group;
    wire [LANES-1:0]    spike_bits;
    wire                v_take;

    nc1_fifo #(.DEPTH(SPIKE_DEPTH), .WIDTH(GB + LANES)) spike_fifo (
        .clk(clk), .reset(reset),
        .push(u2_write && u2_any), .push_data({u2_group, u2_spikes}),
        .pop(v_take), .head({spike_group, spike_bits}),
        .empty(spike_fifo_empty), .full(spike_fifo_full)
    );

    // V: a spike vector, worked off from the lowest lane.
    reg  [LANES-1:0] v_bits;
    reg  [GB-1:0]    v_group;

    reg              q_valid;
    wire             q_take;

    wire             v_any  = (v_bits != {LANES{1'b0}});
    wire [LANES-1:0] v_rest = v_bits & (v_bits - 1'b1);         // without the lowest
    wire             pick   = v_any && (!q_valid || q_take);

    assign v_take = !spike_fifo_empty && (!v_any || (pick && v_rest == {LANES{1'b0}}));

    always @(posedge clk)
        if (reset)
            v_bits <= {LANES{1'b0}};
        else if (v_take)
            v_bits <= spike_bits;
        else if (pick)
            v_bits <= v_rest;

    always @(posedge clk)
        if (v_take)
            v_group <= spike_group;

    reg [LB-1:0] v_lane;                                        // the lowest lane, as a number
    integer      i;

    always @* begin
        v_lane = {LB{1'b0}};
        for (i = LANES - 1; i >= 0; i = i - 1)
            if (v_bits[i])
                v_lane = i[LB-1:0];
    end

    // With one group there is a group bit that no neuron number has.
    wire [GB+LB-1:0] v_neuron = {v_group, v_lane};

    // Q: the fan-out pointer of a neuron that fired.
    wire [2*FB:0] q_pointer;
    wire [FB-1:0] q_base  = q_pointer[FB-1:0];
    wire [FB:0]   q_count = q_pointer[FB +: FB+1];

    nc1_memory #(.DEPTH(NEURONS), .WIDTH(2*FB + 1), .ADDR_BITS(NB)) pointers (
        .clk(clk),
        .we(cfg_we && cfg_mem == MEM_POINTERS), .waddr(cfg_addr[NB-1:0]), .wdata(cfg_data[2*FB:0]),
        .re(pick), .raddr(v_neuron[NB-1:0]), .rdata(q_pointer)
    );

    always @(posedge clk)
        if (reset)
            q_valid <= 1'b0;
        else if (pick)
            q_valid <= 1'b1;
        else if (q_take)
            q_valid <= 1'b0;

    // F: the entries of that neuron that are still to be read.
    localparam [FB:0] F_ONE = 1;

    reg  [FB:0]   f_left;
    reg  [FB-1:0] f_addr;
    reg           o_valid;

    wire          issue = (f_left != {(FB+1){1'b0}}) && (!o_valid || o_send);

    assign q_take = q_valid && (f_left == {(FB+1){1'b0}} || (f_left == F_ONE && issue));

    always @(posedge clk)
        if (reset)
            f_left <= {(FB+1){1'b0}};
        else if (q_take)
            f_left <= q_count;
        else if (issue)
            f_left <= f_left - 1'b1;

    always @(posedge clk)
        if (q_take)
            f_addr <= q_base;
        else if (issue)
            f_addr <= f_addr + 1'b1;

    // O: an entry, on its way into the router's local input as soon as there is credit.
    wire [ENTRY_BITS-1:0] o_entry;                              // from bit 0: host, x, y, axon
    wire                  o_host = o_entry[0];
    wire [XB-1:0]         o_x    = o_entry[1 +: XB];
    wire [YB-1:0]         o_y    = o_entry[1+XB +: YB];
    wire [AB-1:0]         o_axon = o_entry[1+XB+YB +: AB];

    nc1_memory #(.DEPTH(FANOUT), .WIDTH(ENTRY_BITS), .ADDR_BITS(FB)) entries (
        .clk(clk),
        .we(cfg_we && cfg_mem == MEM_ENTRIES), .waddr(cfg_addr[FB-1:0]), .wdata(cfg_data[ENTRY_BITS-1:0]),
        .re(issue), .raddr(f_addr), .rdata(o_entry)
    );

    reg [CB-1:0] o_credits;

    assign o_send = o_valid && (o_credits != {CB{1'b0}});
    assign o_flit = {o_host, o_x, o_y, o_axon, SPIKE_PAYLOAD};

    always @(posedge clk)
        if (reset)
            o_valid <= 1'b0;
        else if (issue)
            o_valid <= 1'b1;
        else if (o_send)
            o_valid <= 1'b0;

    always @(posedge clk)
        if (reset)
            o_credits <= ROUTER_PLACES;
        else if (o_send && !o_credit)
            o_credits <= o_credits - 1'b1;
        else if (o_credit && !o_send)
            o_credits <= o_credits + 1'b1;

    // ------------------------------------------------------------------------------------------------------------------
    // Receiving

    wire                           input_fifo_empty;
    wire                           unused_input_fifo_full;      // the router counts credits
    wire [AB-1:0]                  head_axon;
    wire signed [PAYLOAD_BITS-1:0] head_payload;
    wire                           pop;

    nc1_fifo #(.DEPTH(INPUT_DEPTH), .WIDTH(AB + PAYLOAD_BITS)) input_fifo (
        .clk(clk), .reset(reset),
        .push(in_valid), .push_data(in_flit[AB+PAYLOAD_BITS-1:0]),
        .pop(pop), .head({head_axon, head_payload}),
        .empty(input_fifo_empty), .full(unused_input_fifo_full)
    );

    assign in_credit = pop;

    // L: the axon's words, and the group that theirs are counted from: axons whose words differ in nothing but that share them.
    localparam [WB:0] S_ONE = 1;

    reg                            l_valid;
    reg  signed [PAYLOAD_BITS-1:0] l_payload;
    reg  [WB:0]                    s_left;
    reg  [WB-1:0]                  s_addr;
    reg  signed [PAYLOAD_BITS-1:0] s_payload;
    reg  [GB-1:0]                  s_group;

    wire [2*WB+GB:0]               l_words;
    wire [WB-1:0]                  l_base  = l_words[WB-1:0];
    wire [WB:0]                    l_count = l_words[WB +: WB+1];
    wire [GB-1:0]                  l_group = l_words[2*WB+1 +: GB];
    wire                           l_take  = l_valid && (s_left <= S_ONE);

    assign pop = !input_fifo_empty && (!l_valid || l_take);

    nc1_memory #(.DEPTH(AXONS), .WIDTH(2*WB + 1 + GB), .ADDR_BITS(AB)) axons (
        .clk(clk),
        .we(cfg_we && cfg_mem == MEM_AXONS), .waddr(cfg_addr[AB-1:0]), .wdata(cfg_data[2*WB+GB:0]),
        .re(pop), .raddr(head_axon), .rdata(l_words)
    );

    always @(posedge clk)
        if (reset)
            l_valid <= 1'b0;
        else if (pop)
            l_valid <= 1'b1;
        else if (l_take)
            l_valid <= 1'b0;

    always @(posedge clk)
        if (pop)
            l_payload <= head_payload;

    // S: the words that are still to be read.
    wire s_read = (s_left != {(WB+1){1'b0}});

    always @(posedge clk)
        if (reset)
            s_left <= {(WB+1){1'b0}};
        else if (l_take)
            s_left <= l_count;
        else if (s_read)
            s_left <= s_left - 1'b1;

    always @(posedge clk)
        if (l_take) begin
            s_addr    <= l_base;
            s_payload <= l_payload;
            s_group   <= l_group;
        end else if (s_read)
            s_addr <= s_addr + 1'b1;

    // M1: the word. It reads the accumulators of its group, which is the word's on top of the axon's (a sum of GB bits,
    // whose carry is dropped: an axon's words may begin in the middle of a list), and multiplies; what M2 adds are the products.
    wire [LANES*WEIGHT_BITS+GB-1:0] m1_word;
    reg  [GB-1:0]                   m1_base;
    wire [GB-1:0]                   m1_group = m1_base + m1_word[LANES*WEIGHT_BITS +: GB];
    reg                             m1_valid;
    reg  signed [PAYLOAD_BITS-1:0]  m1_payload;

    nc1_memory #(.DEPTH(WORDS), .WIDTH(LANES*WEIGHT_BITS + GB), .ADDR_BITS(WB)) synapses (
        .clk(clk),
        .we(cfg_we && cfg_mem == MEM_SYNAPSES), .waddr(cfg_addr[WB-1:0]),
        .wdata(cfg_data[LANES*WEIGHT_BITS+GB-1:0]),
        .re(s_read), .raddr(s_addr), .rdata(m1_word)
    );

    // M2: the sums. What is written in the cycle in which M1 reads the same group is not yet in what M1 reads.
    reg                       m2_valid;
    reg  [GB-1:0]             m2_group;
    reg                       m2_forward;
    reg  [LANES*ACC_BITS-1:0] m2_forwarded;
    wire [LANES*ACC_BITS-1:0] m2_read;
    wire [LANES*ACC_BITS-1:0] m2_acc = m2_forward ? m2_forwarded : m2_read;
    wire [LANES*ACC_BITS-1:0] m2_sum;

    always @(posedge clk)
        if (reset) begin
            m1_valid <= 1'b0;
            m2_valid <= 1'b0;
        end else begin
            m1_valid <= s_read;
            m2_valid <= m1_valid;
        end

    always @(posedge clk) begin
        m1_payload   <= s_payload;
        m1_base      <= s_group;
        m2_group     <= m1_group;
        m2_forward   <= m2_valid && (m2_group == m1_group);
        m2_forwarded <= m2_sum;
    end

    generate
        for (l = 0; l < LANES; l = l + 1) begin : adders
            wire signed [WEIGHT_BITS-1:0]  m1_weight = m1_word[l*WEIGHT_BITS +: WEIGHT_BITS];
            reg  signed [PRODUCT_BITS-1:0] m2_product;

            always @(posedge clk)
                m2_product <= $signed({{PAYLOAD_BITS{m1_weight[WEIGHT_BITS-1]}}, m1_weight})
                            * $signed({{WEIGHT_BITS{m1_payload[PAYLOAD_BITS-1]}}, m1_payload});

            // The smaller of the two widths decides how the product is extended or cut.
            if (ACC_BITS > PRODUCT_BITS) begin : extended
                assign m2_sum[l*ACC_BITS +: ACC_BITS] = m2_acc[l*ACC_BITS +: ACC_BITS]
                    + {{(ACC_BITS-PRODUCT_BITS){m2_product[PRODUCT_BITS-1]}}, m2_product};
            end else begin : cut
                wire unused = &{1'b0, m2_product};
                assign m2_sum[l*ACC_BITS +: ACC_BITS] = m2_acc[l*ACC_BITS +: ACC_BITS] + m2_product[ACC_BITS-1:0];
            end
        end
    endgenerate

    // ------------------------------------------------------------------------------------------------------------------
    // Accumulators: two banks. Bank `parity` is read by U0 and cleared by U1, the other is read by M1 and written by M2. They
    // change places when the core is idle, so a word that was read is always used under the same parity.

    wire [2*LANES*ACC_BITS-1:0] bank_words;

    generate
        for (b = 0; b < 2; b = b + 1) begin : banks
            wire swept = (parity == b);

            nc1_memory #(.DEPTH(GROUPS), .WIDTH(LANES*ACC_BITS), .ADDR_BITS(GB), .ZERO(1)) accumulators (
                .clk(clk),
                .we(swept ? u1_valid : m2_valid),
                .waddr(swept ? u1_group : m2_group),
                .wdata(swept ? {(LANES*ACC_BITS){1'b0}} : m2_sum),
                .re(swept ? u0_read : m1_valid),
                .raddr(swept ? u0_group : m1_group),
                .rdata(bank_words[b*LANES*ACC_BITS +: LANES*ACC_BITS])
            );
        end
    endgenerate

    assign u1_acc  = parity ? bank_words[LANES*ACC_BITS +: LANES*ACC_BITS] : bank_words[0 +: LANES*ACC_BITS];
    assign m2_read = parity ? bank_words[0 +: LANES*ACC_BITS] : bank_words[LANES*ACC_BITS +: LANES*ACC_BITS];

    // ------------------------------------------------------------------------------------------------------------------

    assign idle = !u0_valid && !u1_valid && !u2_valid && spike_fifo_empty && !v_any && !q_valid
               && f_left == {(FB+1){1'b0}} && !o_valid
               && input_fifo_empty && !l_valid && !s_read && !m1_valid && !m2_valid;

    assign probe_update    = u2_write;
    assign probe_group     = u2_group;
    assign probe_spikes    = u2_spikes;
    assign probe_membranes = u2_v_new;
    assign probe_event     = pop;
    assign probe_axon      = head_axon;
    assign probe_payload   = head_payload;

    // Addresses and data are as wide as the widest memory needs; a flit that arrived needs its coordinates no more.
    wire unused = &{1'b0, cfg_addr, cfg_data, v_neuron, in_flit, unused_input_fifo_full};

endmodule
