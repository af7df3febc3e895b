import type { Dashboard } from "@grafana/schema";
import type { Options as BarGauge } from "@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type { PrometheusDataQuery } from "@grafana/schema/dist/esm/raw/composable/prometheus/dataquery/x/PrometheusDataQuery_types.gen";
import type { Options as Stat } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { Options as StateTimeline, FieldConfig as StateTimelineField } from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type { Options as Table } from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type { Options as TimeSeries, FieldConfig as TimeSeriesField } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// What a dashboard is made of: itself, the query of a target, and by type of panel its options and those of a field.
export interface Kinds {
  dashboard: Dashboard;
  target: PrometheusDataQuery;
  options: { bargauge: BarGauge; stat: Stat; "state-timeline": StateTimeline; table: Table; timeseries: TimeSeries };
  custom: { "state-timeline": StateTimelineField; timeseries: TimeSeriesField };
}
