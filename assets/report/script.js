"use strict";
// The slider over the previews.
const slider = document.querySelector(".slider input");
if (slider) {
  const images = [...document.querySelectorAll(".previews img")];
  const output = document.querySelector(".slider output");
  const show = () => {
    images.forEach((image, i) => { image.hidden = i !== Number(slider.value); });
    output.textContent = images[slider.value].alt;
  };
  slider.addEventListener("input", show);
  const play = document.querySelector(".play");
  let timer = 0;
  const stop = () => { clearInterval(timer); timer = 0; play.textContent = "Play"; };
  play.addEventListener("click", () => {
    if (timer) { stop(); return; }
    if (slider.value === slider.max) { slider.value = 0; show(); }
    play.textContent = "Pause";
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      show();
      if (slider.value === slider.max) stop();
    }, 250);
  });
  show();
}
// Values under the pointer.
const SIDE = 1000;
for (const chart of document.querySelectorAll(".chart")) {
  const { x0, x1, y0, y1, decimals } = chart.dataset;
  const value = chart.parentElement.querySelector(".value");
  const cursor = document.createElement("div");
  cursor.className = "cursor";
  cursor.hidden = true;
  chart.append(cursor);
  const groups = [...chart.querySelectorAll("g")].map((group) => ({
    name: group.dataset.name,
    points: [...group.querySelectorAll("polyline")].flatMap((line) =>
      line.getAttribute("points").split(" ").map((point) => point.split(",").map(Number))),
  })).filter((group) => group.points.length > 0);
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    const near = (points) => points.reduce((a, b) =>
      Math.abs(b[0] - SIDE * share) < Math.abs(a[0] - SIDE * share) ? b : a);
    const texts = groups.map(({ name, points }) => {
      const y = Number(y0) + (1 - near(points)[1] / SIDE) * (y1 - y0);
      return (name ? name + " " : "") + y.toFixed(decimals);
    });
    const images = Math.round(Number(x0) + share * (x1 - x0)).toLocaleString("en");
    value.textContent = `${images} images: ${texts.join("; ")}`;
    cursor.style.left = `${100 * share}%`;
    cursor.hidden = false;
  });
  chart.addEventListener("pointerleave", () => { value.textContent = ""; cursor.hidden = true; });
}
// Commands to the clipboard; a page from disk may not be allowed to.
for (const button of document.querySelectorAll(".copy")) {
  if (!navigator.clipboard) { button.hidden = true; continue; }
  button.addEventListener("click", () => {
    const text = button.closest(".command").querySelector("code").textContent;
    navigator.clipboard.writeText(text).then(() => { button.textContent = "Copied"; }, () => {});
  });
}
for (const time of document.querySelectorAll("time[data-seconds]")) {
  time.textContent = new Date(1000 * time.dataset.seconds).toLocaleString();
}
