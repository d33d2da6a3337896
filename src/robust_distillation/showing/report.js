"use strict";
(() => {
  const data = JSON.parse(document.getElementById("images").textContent);
  const [victim, byClass, byVerdict] = ["victim", "class", "verdict-filter"].map((id) => document.getElementById(id));
  const [grid, detail, count] = ["grid", "detail", "count"].map((id) => document.getElementById(id));
  const rows = Math.ceil(data.images.length / data.columns);

  const element = (tag, text, attributes = {}) => {
    const made = Object.assign(document.createElement(tag), attributes);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  const place = (made, number, side) => {
    made.style.backgroundSize = `${data.columns * side}px ${rows * side}px`;
    made.style.backgroundPosition = `${-(number % data.columns) * side}px ${-Math.floor(number / data.columns) * side}px`;
  };

  const verdict = (image) => {
    for (const [epsilon, by] of Object.entries(image.fell[victim.value] ?? {})) {
      if (by === "clean") return "wrong without an attack";
      if (by) return `falls at ${epsilon}`;
    }
    return "stands";
  };

  const show = (image, number, button) => {
    for (const pressed of grid.querySelectorAll("[aria-pressed=true]")) pressed.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", "true");
    const large = element("div", undefined, { className: "large", role: "img", ariaLabel: data.names[image.label] });
    place(large, number, 192);
    const facts = [
      ["image", image.id],
      ["true class", data.names[image.label]],
      ["student", `${data.names[image.answer]}, ${percent(image.confidence)}`],
      ["undefended", data.names[image.undefended]],
      ["defence", image.refused ? `refuses: ${image.refused}` : "answers"],
      ...Object.entries(image.scores).map(([part, [score, threshold]]) =>
        [`${part} score`, `${score.toPrecision(3)}, refused above ${threshold.toPrecision(3)}`]),
      ...Object.entries(image.fell).map(([who, byEpsilon]) => [
        `${who} broken by`,
        Object.entries(byEpsilon).map(([epsilon, by]) => `${epsilon}: ${by || "nothing"}`).join(", "),
      ]),
    ];
    const list = element("dl");
    for (const [name, value] of facts) list.append(element("dt", name), element("dd", value));
    detail.replaceChildren(large, list);
  };

  const fill = (select, values, keep) => {
    const before = select.value;
    select.replaceChildren(...(keep ? [element("option", "all", { value: "" })] : []),
      ...values.map(([value, text]) => element("option", text, { value })));
    if (values.some(([value]) => value === before)) select.value = before;
  };

  const draw = () => {
    const chosen = data.images.map((image, number) => ({ image, number, says: verdict(image) }))
      .filter(({ image, says }) =>
        (byClass.value === "" || String(image.label) === byClass.value) &&
        (byVerdict.value === "" || says === byVerdict.value));
    grid.replaceChildren(...chosen.map(({ image, number, says }) => {
      const button = element("button", undefined, { className: "thumb", type: "button" });
      button.dataset.verdict = says;
      button.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-label", `${data.names[image.label]}, ${says}`);
      button.title = `${data.names[image.label]}, ${says}`;
      place(button, number, 42);
      button.addEventListener("click", () => show(image, number, button));
      return button;
    }));
    count.textContent = `${chosen.length} of ${data.images.length} images`;
  };

  const refill = () => {
    const found = [...new Set(data.images.map(verdict))].sort();
    fill(byVerdict, found.map((text) => [text, text]), true);
    draw();
  };

  const victims = Object.keys(data.images[0]?.fell ?? {});
  fill(victim, victims.map((name) => [name, name]), false);
  if (victims.includes("student")) victim.value = "student";
  fill(byClass, [...new Set(data.images.map((image) => image.label))].sort((a, b) => a - b)
    .map((label) => [String(label), data.names[label]]), true);
  victim.addEventListener("change", refill);
  byClass.addEventListener("change", draw);
  byVerdict.addEventListener("change", draw);
  refill();
})();
