// A router of the mesh: five inputs with a FIFO each, five outputs; north 0, east 1, south 2, west 3, local 4.
//
// The head of each FIFO wants one output (x first, then y). An output with credit grants one of the heads that want it, in
// turn, and the flit enters the FIFO behind the output in the same cycle. An output counts credits for the FIFO behind it.

module nc1_router #(
    parameter MESH_X       = 2,
    parameter MESH_Y       = 2,
    parameter ROUTER_DEPTH = 4,
    parameter INPUT_DEPTH  = 8,
    parameter XB           = 1,
    parameter YB           = 1,
    parameter FLIT_BITS    = 23                     // {host, x, y, axon, payload}
) (
    input  wire                   clk,
    input  wire                   reset,
    input  wire [XB-1:0]          here_x,           // where this router is: constants, and no parameters, so that all
    input  wire [YB-1:0]          here_y,           // routers are one module, which Verilator then compiles once
    input  wire [4:0]             in_valid,         // a flit enters the FIFO of this input
    input  wire [5*FLIT_BITS-1:0] in_flit,
    output wire [4:0]             in_credit,        // a flit leaves that FIFO: a credit for the sender
    output wire [4:0]             out_valid,        // a flit leaves at this output
    output wire [5*FLIT_BITS-1:0] out_flit,
    input  wire [4:0]             out_credit,       // a flit left the FIFO behind this output
    output wire                   idle
);

    /* verilator no_inline_module */   // else its code is compiled once for each place of the mesh, in one large function

    localparam NORTH = 0, EAST = 1, SOUTH = 2, WEST = 3, LOCAL = 4;

    localparam HOST_BIT = FLIT_BITS - 1;
    localparam X_LOW    = FLIT_BITS - 1 - XB;
    localparam Y_LOW    = FLIT_BITS - 1 - XB - YB;

    localparam integer  LAST_X_INT = MESH_X - 1;
    localparam integer  LAST_Y_INT = MESH_Y - 1;
    localparam [XB-1:0] LAST_X     = LAST_X_INT[XB-1:0];
    localparam [YB-1:0] LAST_Y     = LAST_Y_INT[YB-1:0];

    // The west output of (0, 0) is the host port, which takes a flit in every cycle. The other outputs at the edge of the
    // mesh lead nowhere: they have no credit, ever.
    wire [4:0] always_credit = {1'b0, here_x == {XB{1'b0}} && here_y == {YB{1'b0}}, 3'b000};
    wire [4:0] behind        = {1'b1, here_x != {XB{1'b0}}, here_y != LAST_Y, here_x != LAST_X, here_y != {YB{1'b0}}};

    localparam MOST = (ROUTER_DEPTH > INPUT_DEPTH) ? ROUTER_DEPTH : INPUT_DEPTH;
    localparam CB   = $clog2(MOST + 1);

    wire [4:0]             empty;
    wire [5*FLIT_BITS-1:0] heads;
    wire [24:0]            wants;                   // bit 5 * output + input
    wire [24:0]            grants;                  // the same order; at most one bit an output, and one an input

    assign idle = &empty;

    genvar p;

    generate
        for (p = 0; p < 5; p = p + 1) begin : inputs
            wire unused_full;

            nc1_fifo #(.DEPTH(ROUTER_DEPTH), .WIDTH(FLIT_BITS)) fifo (
                .clk(clk), .reset(reset),
                .push(in_valid[p]), .push_data(in_flit[p*FLIT_BITS +: FLIT_BITS]),
                .pop(in_credit[p]), .head(heads[p*FLIT_BITS +: FLIT_BITS]),
                .empty(empty[p]), .full(unused_full)
            );

            wire [FLIT_BITS-1:0] head = heads[p*FLIT_BITS +: FLIT_BITS];
            wire                 host = head[HOST_BIT];
            wire [XB-1:0]        x    = host ? {XB{1'b0}} : head[X_LOW +: XB];
            wire [YB-1:0]        y    = host ? {YB{1'b0}} : head[Y_LOW +: YB];

            // How far it still has to go, with a sign.
            wire [XB:0] dx = {1'b0, x} - {1'b0, here_x};
            wire [YB:0] dy = {1'b0, y} - {1'b0, here_y};

            wire to_west  = dx[XB];
            wire to_east  = !dx[XB] && (dx != {(XB+1){1'b0}});
            wire to_north = (dx == {(XB+1){1'b0}}) && dy[YB];
            wire to_south = (dx == {(XB+1){1'b0}}) && !dy[YB] && (dy != {(YB+1){1'b0}});
            wire arrived  = (dx == {(XB+1){1'b0}}) && (dy == {(YB+1){1'b0}});

            assign wants[5*NORTH + p] = !empty[p] && to_north;
            assign wants[5*EAST  + p] = !empty[p] && to_east;
            assign wants[5*SOUTH + p] = !empty[p] && to_south;
            assign wants[5*WEST  + p] = !empty[p] && (to_west || (arrived && host));
            assign wants[5*LOCAL + p] = !empty[p] && arrived && !host;

            assign in_credit[p] = grants[5*NORTH + p] | grants[5*EAST + p] | grants[5*SOUTH + p]
                                | grants[5*WEST + p] | grants[5*LOCAL + p];

            // Credits keep the sender from filling more than there is.
            wire unused = unused_full;
        end

        for (p = 0; p < 5; p = p + 1) begin : outputs
            localparam integer PLACES_INT = (p == LOCAL) ? INPUT_DEPTH : ROUTER_DEPTH;
            localparam [CB-1:0] PLACES = PLACES_INT[CB-1:0];

            reg [CB-1:0] credits;
            reg [4:0]    after;                     // the inputs after the one that was granted last

            wire       has_credit = always_credit[p] || (credits != {CB{1'b0}});
            wire [4:0] want       = wants[5*p +: 5];
            wire [4:0] first      = (want & after) != 5'd0 ? (want & after) : want;
            wire [4:0] grant      = has_credit ? (first & (~first + 5'd1)) : 5'd0;     // its lowest bit

            assign grants[5*p +: 5] = grant;
            assign out_valid[p]     = (grant != 5'd0);
            assign out_flit[p*FLIT_BITS +: FLIT_BITS] = ({FLIT_BITS{grant[0]}} & heads[0*FLIT_BITS +: FLIT_BITS])
                                                      | ({FLIT_BITS{grant[1]}} & heads[1*FLIT_BITS +: FLIT_BITS])
                                                      | ({FLIT_BITS{grant[2]}} & heads[2*FLIT_BITS +: FLIT_BITS])
                                                      | ({FLIT_BITS{grant[3]}} & heads[3*FLIT_BITS +: FLIT_BITS])
                                                      | ({FLIT_BITS{grant[4]}} & heads[4*FLIT_BITS +: FLIT_BITS]);

            // Nothing after the last input: the search begins at input 0.
            always @(posedge clk)
                if (reset)
                    after <= 5'd0;
                else if (grant != 5'd0)
                    after <= ~(grant | (grant - 5'd1));

            always @(posedge clk)
                if (reset)
                    credits <= behind[p] ? PLACES : {CB{1'b0}};
                else if (behind[p]) begin
                    if (out_valid[p] && !out_credit[p])
                        credits <= credits - 1'b1;
                    else if (out_credit[p] && !out_valid[p])
                        credits <= credits + 1'b1;
                end
        end
    endgenerate

endmodule
