// Runs before anything is drawn, or a dark room would flash white.
(function () {
  let kept = "auto";
  try {
    kept = localStorage.getItem("presaged.theme") || "auto";
  } catch {
    // a browser that keeps nothing follows the system
  }
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
})();
