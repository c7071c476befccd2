// Before the first paint: the theme that was chosen here before, so that nothing flashes.
try {
  const theme = localStorage.getItem("soundscene-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // no storage: the system's theme
}
