// The notebook's widget and the static page draw and update a chart with these functions.

// A table travels as its columns' names and its rows, which is a third of the size of records.
function records({columns, rows}) {
  return rows.map(row => Object.fromEntries(columns.map((name, i) => [name, row[i]])));
}

// What a screen reader says of a state that has no words of its own: the text of its readout.
function textOf(readout) {
  const box = document.createElement("div");
  box.innerHTML = readout.replaceAll("<br>", "; ");
  return box.textContent;
}

// Draw a Vega-Lite chart in `element`; returns the function that shows another state in it.
async function drawChart(element, chart, state) {
  const tables = Object.entries(state.data).map(([name, table]) => [name, records(table)]);
  const datasets = {...chart.datasets, ...Object.fromEntries(tables)};
  if (window.innerWidth < 600) {
    const {hconcat, ...rest} = chart;
    chart = {...rest, vconcat: hconcat};  // a phone has no room for panels side by side
  }
  const options = {actions: false, renderer: "svg", mode: "vega-lite"};
  const {view} = await window.courseVega(element, {...chart, datasets}, options);
  const describe = ({alt, readout}) => {
    const svg = element.querySelector("svg");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", alt ?? textOf(readout));
    // To a screen reader the chart is one image; its thousand marks have nothing to add.
    for (const part of svg.children) part.setAttribute("aria-hidden", "true");
  };
  describe(state);
  return async next => {
    for (const [name, table] of Object.entries(next.data)) view.data(name, records(table));
    await view.runAsync();
    describe(next);
  };
}

// The static page: one control for each slider, the readout, and the chart.
async function play(root) {
  const {controls, states, chart} = JSON.parse(root.querySelector("script").textContent);
  const make = (kind, properties) => Object.assign(document.createElement(kind), properties);
  const readout = make("div", {className: "course-readout", ariaLive: "polite"});
  const place = make("div", {className: "course-chart"});
  const at = controls.map(control => control.start);
  const state = () => states[at.join()];
  let show = null;
  const lines = controls.map(({name, labels, start, menu}, i) => {
    const line = make("label", {className: "course-control"});
    const value = make("output", {textContent: menu ? "" : labels[start]});
    const control = make(menu ? "select" : "input", menu ? {} : {type: "range", min: 0});
    if (menu) control.append(...labels.map((text, j) => new Option(text, j)));
    else control.max = labels.length - 1;
    control.value = start;
    const move = () => {
      at[i] = Number(control.value);
      if (!menu) value.textContent = control.ariaValueText = labels[at[i]];
      readout.innerHTML = state().readout;
      if (show) show(state());
    };
    if (!menu) control.ariaValueText = labels[start];
    control.addEventListener("input", move);
    line.append(make("span", {textContent: name}), control, value);
    return line;
  });
  readout.innerHTML = state().readout;
  root.replaceChildren(...lines, readout, place);
  if (chart) show = await drawChart(place, chart, state());
}
