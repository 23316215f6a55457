"use strict";
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
for (const place of document.querySelectorAll(".chart")) {
  const option = JSON.parse(place.nextElementSibling.textContent);
  option.tooltip.confine = true;
  for (const axis of [...option.xAxis, ...option.yAxis]) {
    if (axis.type === "value") {
      // Small amounts are not to become 0.
      axis.axisLabel = { hideOverlap: true, formatter: (n) => (Math.abs(n) >= 1000 ? compact.format(n) : String(n)) };
    }
  }
  const chart = echarts.init(place, null, { renderer: "svg" });
  chart.setOption(option);
  new ResizeObserver(() => chart.resize()).observe(place);
}
