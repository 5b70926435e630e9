"""What the page does in the browser, beside what Gradio does."""

SHOW_ACTUAL_PIXELS = """
(on) => { document.getElementById("frame").classList.toggle("actual", on); }
"""

SLIDER_BY_KEYBOARD = """
() => {
  const steps = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, Home: -100, End: 100 };
  const prepare = (line) => {
    const [before, after] = document.querySelectorAll("#slider img");
    before.alt = "before";
    after.alt = "after";
    const move = (step) => {
      const picture = before.getBoundingClientRect(), own = line.getBoundingClientRect();
      const now = 100 * (own.x + own.width / 2 - picture.x) / picture.width;
      const then = Math.min(100, Math.max(0, now + step));
      line.ariaValueNow = Math.round(then);
      const clientX = picture.x + picture.width * then / 100;
      if (step) for (const kind of ["mousedown", "mouseup"])
        line.dispatchEvent(new MouseEvent(kind, { clientX, view: window, bubbles: true }));
    };
    line.onfocus = () => move(0);
    line.onkeydown = (event) => {
      // With Alt, Ctrl or Cmd these keys are the browser's: Alt+Left goes back a page.
      if (event.altKey || event.ctrlKey || event.metaKey || !(event.key in steps)) return;
      event.preventDefault();
      move(steps[event.key]);
    };
    const ariaLabel = "Line between before and after, in per cent";
    Object.assign(line, { role: "slider", tabIndex: 0, ariaLabel, ariaValueNow: 50 });
  };
  const unprepared = "#slider [data-testid=slider][role=none]";
  new MutationObserver(() => document.querySelectorAll(unprepared).forEach(prepare))
    .observe(document.body, { childList: true, subtree: true });
}
"""
"""Gradio's slider listens to the mouse only, and its pictures have no text in their place."""
