// What has been counted between two overviews. A model that was loaded anew counts from 0.

const NONE = {
  requests: 0, nonfinite: 0, executions: 0, queue_ns: 0, compute_ns: 0, failed: {}, execution_times: {}, tick_sizes: {},
};
const each = (object, work) => Object.fromEntries(Object.entries(object).map(([name, value]) => [name, work(name, value)]));
const isNumber = (value) => typeof value === "number";

export const sum = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);

/** {name: how many more} of two objects of counts; those that are 0 are left out. */
export function gained(now, before = {}) {
  const more = each(now, (name, count) => count - (before[name] ?? 0));
  return Object.fromEntries(Object.entries(more).filter(([, count]) => count > 0));
}

/** Two objects of counts added up. */
export const added = (one, other) => each({ ...one, ...other }, (name) => (one[name] ?? 0) + (other[name] ?? 0));

/** What the model of this name has done since `before`, an older overview, or since its start if that is null. */
export function ofModel(now, before, name) {
  const find = (overview) => overview?.models.find((model) => model.name === name)?.statistics ?? {};
  const [one, old] = [find(now), find(before)];
  const other = old.executions > one.executions ? {} : old;
  return each({ ...NONE, ...one }, (field, value) => (
    isNumber(value) ? Math.max(0, value - (other[field] ?? 0)) : gained(value, other[field])));
}

/** The same of all models together. */
export function ofAll(now, before) {
  return now.models.map(({ name }) => ofModel(now, before, name)).reduce((all, one) => (
    each(all, (field, value) => (isNumber(value) ? value + one[field] : added(value, one[field])))), NONE);
}

/** The bound that this share of a histogram is not above; null for an empty one. */
export function quantile(histogram, share) {
  let left = share * sum(histogram);
  const bounds = Object.keys(histogram).map(Number).sort((a, b) => a - b);
  return bounds.find((bound) => (left -= histogram[bound]) <= 0) ?? null;
}
