"use strict";
const sound = document.querySelector("audio.player");
const facts = JSON.parse(sound.dataset.facts);
const drawing = document.querySelector("#figure-" + facts.picture + " svg");
const lines = facts.panels.map((panel) => {
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  line.setAttribute("y1", panel.top);
  line.setAttribute("y2", panel.bottom);
  line.setAttribute("class", "cursor");
  drawing.append(line);
  return line;
});
function show() {
  const seconds = facts.startsS + sound.currentTime;
  facts.panels.forEach((panel, i) => {
    const share = (seconds - panel.start_s) / (panel.end_s - panel.start_s);
    const x = panel.left + share * (panel.right - panel.left);
    lines[i].setAttribute("x1", x);
    lines[i].setAttribute("x2", x);
    lines[i].style.display = share < 0 || share > 1 ? "none" : "";
  });
  if (!sound.paused) requestAnimationFrame(show);
}
for (const event of ["play", "seeked", "loadedmetadata", "timeupdate"]) sound.addEventListener(event, show);
drawing.addEventListener("click", (event) => {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
  const panel = facts.panels.find((p) => p.left <= point.x && point.x <= p.right && p.top <= point.y && point.y <= p.bottom);
  if (!panel) return;
  const seconds = panel.start_s + ((point.x - panel.left) / (panel.right - panel.left)) * (panel.end_s - panel.start_s);
  sound.currentTime = Math.max(0, seconds - facts.startsS);
});
show();
