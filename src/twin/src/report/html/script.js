"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const all = (selector) => document.querySelectorAll(selector);
  const shown = (place) => document.querySelector(`[data-switch="${place}"]`).checked;
  if (!data) return;

  // Switches: each policy with everything that belongs to it.
  for (const box of all("[data-switch]")) {
    box.addEventListener("change", () => {
      for (const part of all(`[data-policy="${box.dataset.switch}"]`)) {
        part.classList.toggle("off", !box.checked);
      }
    });
    box.checked = true;
  }

  const number = (value) =>
    value >= 100 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(3)));
  const clock = (seconds) => {
    const two = (value) => String(Math.floor(value)).padStart(2, "0");
    const time = `${two((seconds / 3600) % 24)}:${two((seconds / 60) % 60)}`;
    return data.days ? `day ${Math.floor(seconds / 86400) + 1} ${time}` : time;
  };
  const latency = (value, ms) => {
    const seconds = ms ? value / 1000 : value;
    if (seconds < 1) return `${number(seconds * 1000)} ms`;
    return seconds < 120 ? `${number(seconds)} s` : `${number(seconds / 60)} min`;
  };
  const table = (head, rows) => {
    const wide = Math.max(0, ...rows.map(([name]) => name.length));
    return [head, ...rows.map(([name, value]) => `${name.padEnd(wide + 2)}${value}`)].join("\n");
  };

  const readTime = (place, share) => {
    const run = data.runs[place];
    const seconds = share * data.duration_s;
    const step = Math.floor(seconds / run.step_s + 1e-6);
    const rows = run.series
      .filter(([, values]) => step < values.length)
      .map(([name, values]) => [name, number(values[step])]);
    return table(`${run.label}  ${clock(data.start_s + seconds)}`, rows);
  };
  const readCurve = (index, share) => {
    const chart = data.charts[index];
    const value = chart.low * Math.pow(chart.high / chart.low, share);
    const rows = [];
    chart.runs.forEach((points, place) => {
      if (!points.length || !shown(place)) return;
      let after = points.findIndex(([at]) => at >= value);
      let below = after === 0 ? 0 : 1;
      if (after > 0) {
        const [[x0, y0], [x1, y1]] = [points[after - 1], points[after]];
        below = x1 > x0 ? y0 + ((y1 - y0) * (value - x0)) / (x1 - x0) : y1;
      }
      rows.push([data.runs[place].label, `${(Math.floor(below * 1000) / 10).toFixed(1)} %`]);
    });
    return table(`within ${latency(value, chart.ms)}`, rows);
  };

  // A cross-hair: over all cards for time, so that policies compare; in its own figure for latency.
  const show = (figure, share, x, y) => {
    const time = figure.classList.contains("time");
    for (const other of time ? all(".time") : [figure]) {
      const line = other.querySelector(".cross");
      line.setAttribute("x1", `${share * 100}%`);
      line.setAttribute("x2", `${share * 100}%`);
      line.classList.add("on");
    }
    tip.textContent = time ? readTime(figure.dataset.run, share) : readCurve(figure.dataset.chart, share);
    tip.classList.add("on");
    const [wide, high] = [tip.offsetWidth, tip.offsetHeight];
    tip.style.left = `${Math.max(4, x + 16 + wide > innerWidth ? x - wide - 16 : x + 16)}px`;
    tip.style.top = `${Math.max(4, Math.min(y - high / 2, innerHeight - high - 4))}px`;
  };
  const hide = () => {
    tip.classList.remove("on");
    for (const line of all(".cross.on")) line.classList.remove("on");
  };
  for (const figure of all(".time, .cdf")) {
    let share = 0.5;
    figure.addEventListener("pointermove", (event) => {
      const box = figure.getBoundingClientRect();
      share = Math.min(0.9999, Math.max(0, (event.clientX - box.left) / box.width));
      show(figure, share, event.clientX, event.clientY);
    });
    figure.addEventListener("pointerleave", hide);
    figure.addEventListener("blur", hide);
    figure.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      event.preventDefault();
      share = Math.min(0.9999, Math.max(0, share + move / 96));
      const box = figure.getBoundingClientRect();
      show(figure, share, box.left + box.width * share, box.top + box.height / 2);
    });
  }
})();
