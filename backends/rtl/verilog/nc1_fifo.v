// A small FIFO whose head is visible while it is not empty.
//
// What is pushed in cycle c is seen in cycle c + 1. `full` and `empty` speak of the beginning of the cycle: a place that
// is freed by a pop can be used in the next cycle. Pushing into a full FIFO or popping an empty one is the user's fault and
// is not defended against; the users hold credits or look at `full`.

module nc1_fifo #(
    parameter DEPTH = 4,                            // places, 1 or more, not necessarily a power of two
    parameter WIDTH = 8
) (
    input  wire             clk,
    input  wire             reset,
    input  wire             push,
    input  wire [WIDTH-1:0] push_data,
    input  wire             pop,
    output wire [WIDTH-1:0] head,
    output wire             empty,
    output wire             full
);

    localparam PB = (DEPTH > 1) ? $clog2(DEPTH) : 1;
    localparam CB = $clog2(DEPTH + 1);

    localparam integer  LAST_INT   = DEPTH - 1;
    localparam integer  PLACES_INT = DEPTH;
    localparam [PB-1:0] LAST       = LAST_INT[PB-1:0];
    localparam [CB-1:0] PLACES     = PLACES_INT[CB-1:0];

    reg [WIDTH-1:0] places [0:DEPTH-1];
    reg [PB-1:0]    read_at;
    reg [PB-1:0]    write_at;
    reg [CB-1:0]    count;

    assign head  = places[read_at];
    assign empty = (count == {CB{1'b0}});
    assign full  = (count == PLACES);

    always @(posedge clk)
        if (push)
            places[write_at] <= push_data;

    always @(posedge clk)
        if (reset) begin
            read_at  <= {PB{1'b0}};
            write_at <= {PB{1'b0}};
            count    <= {CB{1'b0}};
        end else begin
            if (push)
                write_at <= (write_at == LAST) ? {PB{1'b0}} : write_at + 1'b1;
            if (pop)
                read_at <= (read_at == LAST) ? {PB{1'b0}} : read_at + 1'b1;
            if (push && !pop)
                count <= count + 1'b1;
            else if (pop && !push)
                count <= count - 1'b1;
        end

endmodule
