// Plots of the last hour, a minute a column.

import { h, s } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 120;

/** Draw stacked bars: `series` are `{name, kind, values}`, oldest value first. */
export function bars(title, unit, series) {
  const totals = series[0].values.map((_, n) => sum(series.map(({ values }) => values[n])));
  const top = niceTop(Math.max(...totals));
  const step = WIDTH / totals.length;
  const drawn = totals.flatMap((total, n) => {
    let y = HEIGHT;
    return series.filter(({ values }) => values[n]).map(({ kind, values }) => {
      const height = (values[n] / top) * HEIGHT;
      y -= height;
      return s("rect", { class: kind, x: n * step + 1, y, width: step - 2, height });
    });
  });
  const said = series.map(({ name, values }) => `${sum(values)} ${name}`).join(", ");
  return figure(title, unit, top, series, drawn, `${title}: ${said} within the last hour.`);
}

/** Draw lines with gaps where there is nothing. */
export function lines(title, unit, series, words) {
  const known = series.flatMap(({ values }) => values).filter((value) => value !== null);
  const top = niceTop(Math.max(0, ...known));
  const step = WIDTH / series[0].values.length;
  const drawn = series.map(({ kind, values }) => s("g", { class: kind },
    s("path", { d: path(values, step, top) }),
    // a line without length, so that its round ends are a dot however the plot is stretched
    values.map((value, n) => value !== null &&
      s("path", { class: "point", d: `M${(n + 0.5) * step} ${HEIGHT - (value / top) * HEIGHT}h0` }))));
  return figure(title, unit, top, series, drawn, `${title}: ${words}`);
}

function path(values, step, top) {
  let pen = "M";
  return values.map((value, n) => {
    if (value === null) {
      pen = "M";
      return "";
    }
    const point = `${pen}${((n + 0.5) * step).toFixed(1)} ${(HEIGHT - (value / top) * HEIGHT).toFixed(1)}`;
    pen = "L";
    return point;
  }).join("");
}

function figure(title, unit, top, series, drawn, said) {
  const rulers = [0, 0.5, 1].map((part) =>
    s("line", { class: "ruler", x1: 0, x2: WIDTH, y1: HEIGHT * part, y2: HEIGHT * part }));
  return h("figure", { class: "plot" },
    h("figcaption", {}, h("strong", {}, title),
      series.map(({ name, kind }) => h("span", { class: `key ${kind}` }, name))),
    h("div", { class: "plot-frame" },
      h("div", { class: "scale", "aria-hidden": "true" },
        h("span", {}, `${top} ${unit}`), h("span", {}, `${top / 2}`), h("span", {}, "0")),
      s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": said },
        rulers, drawn)),
    h("div", { class: "row scale-x muted", "aria-hidden": "true" },
      h("span", {}, "an hour ago"), h("span", { class: "grow" }), h("span", {}, "now")));
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

/** Round up to a number that reads well. */
function niceTop(value) {
  if (value <= 0) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  return Number(([1, 2, 5, 10].find((step) => step * size >= value) * size).toPrecision(3));
}
