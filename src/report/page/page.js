(() => {
  const form = document.getElementById("filters");
  const shown = document.getElementById("shown");
  const instances = [...document.querySelectorAll("details.instance")];
  const apply = () => {
    const wanted = Object.fromEntries(new FormData(form));
    let n = 0;
    for (const one of instances) {
      const data = one.dataset;
      const fits = (!wanted.repo || data.repo === wanted.repo)
        && (!wanted.lost || data.lost === wanted.lost)
        && (!wanted.reason || data.reasons.split("|").includes(wanted.reason))
        && (!wanted.text || data.id.includes(wanted.text));
      one.hidden = !fits;
      n += fits ? 1 : 0;
    }
    shown.textContent = `${n} of ${instances.length} instances`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", event => event.preventDefault());
  apply();
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.matches("details")) { target.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", open);
  open();
})();
