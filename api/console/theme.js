// Light or dark: as the system says, unless a person chose. Runs before the first paint.

const THEME = "vibecoder.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

function applyTheme() {
  const chosen = localStorage.getItem(THEME);
  document.documentElement.dataset.theme = chosen || (dark.matches ? "dark" : "light");
  document.dispatchEvent(new CustomEvent("theme"));
}

dark.addEventListener("change", applyTheme);
document.addEventListener("choose-theme", () => {
  const now = document.documentElement.dataset.theme;
  localStorage.setItem(THEME, now === "dark" ? "light" : "dark");
  applyTheme();
});
applyTheme();
