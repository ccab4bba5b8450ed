// Tables and code that scroll sideways can be scrolled with the keyboard too.
function reachable() {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .medembed-leaderboard, pre > code, figure")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
}
document.addEventListener("DOMContentLoaded", reachable);
