// The list of units: a snapshot, then what changes.
import type { Delta, Snapshot, Unit } from "./stats";

export class Services {
  private readonly units = new Map<string, Unit>();

  constructor(
    private readonly list: HTMLElement,
    private readonly none: HTMLElement,
  ) {}

  snapshot(all: Snapshot): void {
    this.units.clear();
    for (const unit of all.units) this.units.set(unit.name, unit);
    const reason = !all.available ? `not available: ${all.reason}` : "none is installed here";
    this.show(reason);
  }

  delta(change: Delta): void {
    for (const unit of change.changed) this.units.set(unit.name, unit);
    for (const name of change.removed) this.units.delete(name);
    this.show("none is installed here");
  }

  private show(reason: string): void {
    this.none.hidden = this.units.size > 0;
    this.list.hidden = this.units.size === 0;
    this.none.textContent = reason;
    const sorted = [...this.units.values()].sort((a, b) => a.name.localeCompare(b.name));
    this.list.replaceChildren(
      ...sorted.map((unit) => {
        const item = document.createElement("li");
        item.dataset["active"] = unit.active;
        const dot = document.createElement("span");
        dot.className = "dot";
        dot.setAttribute("aria-hidden", "true");
        const name = document.createElement("span");
        name.className = "unit";
        name.textContent = unit.name.replace(/\.service$/, "");
        name.title = unit.description;
        const state = document.createElement("span");
        state.className = "dim";
        state.textContent = unit.active === unit.sub ? unit.active : `${unit.active}, ${unit.sub}`;
        item.append(dot, name, state);
        return item;
      }),
    );
  }
}
