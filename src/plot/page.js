// Draws the figures of the page and says in #pept-status what came of it.
(() => {
  const state = { drawn: false, figures: 0, traces: 0, seconds: null, errors: [] };
  const tell = () => { document.getElementById("pept-status").textContent = JSON.stringify(state); };
  const fail = (problem) => {
    state.errors.push(String(problem));
    state.drawn = false;
    const place = document.getElementById("pept-problem");
    place.textContent = state.errors.join("\n");
    place.style.display = "block";
    tell();
  };
  addEventListener("error", (event) => fail(event.message));
  addEventListener("unhandledrejection", (event) => fail(event.reason));
  tell();
  if (typeof Plotly === "undefined") {
    fail("plotly.js could not be loaded: this page needs a network. Pages with plotly.js in them do not (without --cdn).");
    return;
  }
  const canvas = document.createElement("canvas");
  const hasWebGl = canvas.getContext("webgl2") || canvas.getContext("webgl");
  const config = { responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: ["sendChartToCloud"] };
  const draw = async (script) => {
    const target = document.getElementById(script.dataset.target);
    const figure = JSON.parse(script.textContent);
    script.textContent = "";
    const needsWebGl = figure.data.some((trace) => /3d$|gl$|^surface$|^cone$/.test(trace.type));
    if (needsWebGl && !hasWebGl) {
      throw new Error("this browser has no WebGL, which 3-D figures and those of many points need");
    }
    await Plotly.newPlot(target, figure.data, figure.layout, { ...config, ...figure.config });
    if (figure.frames) await Plotly.addFrames(target, figure.frames);
    target.on("plotly_webglcontextlost", () => fail("the browser lost its WebGL context: show fewer points (max_points)"));
    state.figures += 1;
    state.traces += target.data.length;
  };
  const all = [...document.querySelectorAll("script[data-target]")].map(draw);
  Promise.all(all).then(() => {
    state.drawn = state.errors.length === 0;
    state.seconds = Math.round(performance.now()) / 1000;
    tell();
  }, fail);
})();
