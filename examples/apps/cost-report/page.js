"use strict";
for (const place of document.querySelectorAll(".chart")) {
  const option = JSON.parse(place.nextElementSibling.textContent);
  option.tooltip.confine = true;
  const chart = echarts.init(place, null, { renderer: "svg" });
  chart.setOption(option);
  new ResizeObserver(() => chart.resize()).observe(place);
}
