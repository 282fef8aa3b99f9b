// What the theme leaves open. It needs no network, and a page without it still reads well.

// A browser may not fetch files from the disk: there the search lists titles without excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

// What can be scrolled must be reachable with the keyboard.
function letKeyboardScroll() {
  for (const box of document.querySelectorAll("pre, .output, .pst-scrollable-table-container, .math-block, :is(p, li):has(> math)")) {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("load", letKeyboardScroll);
addEventListener("resize", letKeyboardScroll);
