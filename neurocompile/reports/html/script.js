// Zooming: wheel with Ctrl, + and -, arrows to move, 0 for all of it; two fingers, or dragging once it is zoomed.
"use strict";
for (const drawing of document.querySelectorAll(".drawing")) {
  const svg = drawing.querySelector("svg");
  const whole = svg.getAttribute("viewBox").split(" ").map(Number);
  let [x, y, w, h] = whole;
  const show = () => {
    w = Math.min(whole[2], Math.max(whole[2] / 40, w));
    h = (w * whole[3]) / whole[2];
    x = Math.min(whole[0] + whole[2] - w, Math.max(whole[0], x));
    y = Math.min(whole[1] + whole[3] - h, Math.max(whole[1], y));
    svg.setAttribute("viewBox", [x, y, w, h].join(" "));
    drawing.style.cursor = w < whole[2] ? "grab" : "";
    drawing.style.touchAction = w < whole[2] ? "none" : "";
  };
  const zoom = (factor, fx, fy) => {
    const before = [w, h];
    w *= factor;
    h *= factor;
    x += (before[0] - w) * fx;
    y += (before[1] - h) * fy;
    show();
  };
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  drawing.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 0.8 : 1.25, ...at(event));
  }, { passive: false });
  drawing.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "+" || event.key === "=") zoom(0.8, 0.5, 0.5);
    else if (event.key === "-") zoom(1.25, 0.5, 0.5);
    else if (event.key === "0") { [x, y, w, h] = whole; show(); }
    else if (event.key in moves && w < whole[2]) {
      x += (moves[event.key][0] * w) / 8;
      y += (moves[event.key][1] * h) / 8;
      show();
    } else return;
    event.preventDefault();
  });
  const held = new Map();
  drawing.addEventListener("pointerdown", (event) => {
    held.set(event.pointerId, event);
    if (w < whole[2]) drawing.setPointerCapture(event.pointerId);
  });
  drawing.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    if (held.size === 2) {
      const other = [...held.values()].find((each) => each.pointerId !== event.pointerId);
      const far = (each) => Math.hypot(each.clientX - other.clientX, each.clientY - other.clientY);
      if (far(event) > 0) zoom(far(before) / far(event), ...at(event));
    } else if (w < whole[2]) {
      const box = svg.getBoundingClientRect();
      x -= ((event.clientX - before.clientX) * w) / box.width;
      y -= ((event.clientY - before.clientY) * h) / box.height;
      show();
    }
    held.set(event.pointerId, event);
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"])
    drawing.addEventListener(end, (event) => held.delete(event.pointerId));
}
