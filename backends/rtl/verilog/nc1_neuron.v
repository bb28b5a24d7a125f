// The neuron equation of stage U2, for one lane. Combinational.
//
//     i  = sat(round(acc * 2^shift))
//     h  = sat(round(decay * v / 2^16) + i + bias)
//     s  = h >= threshold        (flip: h <= threshold)        modes 0 to 2; mode 3 never fires
//     v' = s ? rest : h          mode 0
//          s ? sat(h - rest) : h mode 1
//          h                     modes 2 and 3
//
// The product decay * v comes from stage U1.

module nc1_neuron #(
    parameter ACC_BITS   = 24,
    parameter STATE_BITS = 24
) (
    input  wire signed [ACC_BITS-1:0]    acc,
    input  wire signed [5:0]             shift,
    input  wire signed [STATE_BITS+17:0] product,
    input  wire signed [STATE_BITS-1:0]  bias,
    input  wire signed [STATE_BITS:0]    threshold,
    input  wire                          flip,
    input  wire signed [STATE_BITS-1:0]  rest,
    input  wire        [1:0]             mode,
    output wire                          spike,
    output wire signed [STATE_BITS-1:0]  v_new
);

    localparam SB = STATE_BITS;
    // One width for everything that is saturated: an accumulator shifted by up to 31, or the sum of three terms.
    localparam WIDE = (ACC_BITS + 32 > SB + 4) ? ACC_BITS + 32 : SB + 4;

    function signed [SB-1:0] sat(input signed [WIDE-1:0] value);
        if (value[WIDE-1:SB-1] == {(WIDE-SB+1){value[WIDE-1]}})
            sat = value[SB-1:0];
        else
            sat = {value[WIDE-1], {(SB-1){~value[WIDE-1]}}};
    endfunction

    // To the right by n with rounding: floor(acc / 2^(n-1)), plus 1, halved. With n = 0 this is acc itself, so the left shift
    // can follow without a choice between the two.
    wire        [5:0]          right  = shift[5] ? (~shift + 6'd1) : 6'd0;              // up to 32
    wire        [4:0]          left   = shift[5] ? 5'd0 : shift[4:0];
    wire signed [ACC_BITS:0]   halves = $signed({acc, 1'b0}) >>> right;
    wire signed [ACC_BITS+1:0] plus   = {halves[ACC_BITS], halves} + {{(ACC_BITS+1){1'b0}}, 1'b1};
    wire signed [ACC_BITS:0]   scaled = plus[ACC_BITS+1:1];
    wire signed [WIDE-1:0]     input_wide = $signed({{(WIDE-ACC_BITS-1){scaled[ACC_BITS]}}, scaled}) <<< left;
    wire signed [SB-1:0]       i = sat(input_wide);

    // The part that is left of the membrane, rounded to whole units.
    wire signed [SB+18:0]      product_half = {product[SB+17], product} + {{(SB+3){1'b0}}, 1'b1, 15'd0};
    wire signed [SB+2:0]       kept = product_half[SB+18:16];

    wire signed [WIDE-1:0]     sum = {{(WIDE-SB-3){kept[SB+2]}}, kept}
                                   + {{(WIDE-SB){i[SB-1]}}, i}
                                   + {{(WIDE-SB){bias[SB-1]}}, bias};
    wire signed [SB-1:0]       h = sat(sum);

    // A threshold has one bit more than h, so it can be out of h's reach in both directions.
    wire signed [SB:0]         h_wide = {h[SB-1], h};
    wire                       fires  = flip ? (h_wide <= threshold) : (h_wide >= threshold);

    wire signed [WIDE-1:0]     difference = {{(WIDE-SB){h[SB-1]}}, h} - {{(WIDE-SB){rest[SB-1]}}, rest};

    assign spike = fires && (mode != 2'd3);
    assign v_new = (spike && mode == 2'd0) ? rest
                 : (spike && mode == 2'd1) ? sat(difference)
                 : h;

    // The bits below the rounding point.
    wire unused = &{1'b0, plus[0], product_half[15:0]};

endmodule
