// A memory with one synchronous read port and one write port, the form that block RAM is inferred from.
//
// The word read in cycle c is on `rdata` from cycle c + 1 until the next read, so a stage that stalls keeps its word by not
// reading. A read of the word that is written in the same cycle gives what was there before; no user relies on it, the one
// that meets this case (the accumulators) forwards.

module nc1_memory #(
    parameter DEPTH     = 256,
    parameter WIDTH     = 8,
    parameter ADDR_BITS = 8,
    parameter ZERO      = 0                         // 1: the words start as 0
) (
    input  wire                 clk,
    input  wire                 we,
    input  wire [ADDR_BITS-1:0] waddr,
    input  wire [WIDTH-1:0]     wdata,
    input  wire                 re,
    input  wire [ADDR_BITS-1:0] raddr,
    output reg  [WIDTH-1:0]     rdata
);

    reg [WIDTH-1:0] words [0:DEPTH-1];

    generate
        if (ZERO != 0) begin : zero
            integer i;

            initial
                for (i = 0; i < DEPTH; i = i + 1)
                    words[i] = {WIDTH{1'b0}};
        end
    endgenerate

    always @(posedge clk) begin
        if (we)
            words[waddr] <= wdata;
        if (re)
            rdata <= words[raddr];
    end

endmodule
