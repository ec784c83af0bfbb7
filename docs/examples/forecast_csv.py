"""Forecast every series of a CSV file, with pandas.

    pip install pandas
    python docs/examples/forecast_csv.py forecaster.onnx sales.csv --days 7

The file has the columns series, date and value, with one row per day. The model takes x (T, N, 3), which is the scaled
value and the weekday as a sine and a cosine, and the state h0. Its output y (T, N, 1) is the scaled value of the next
day.
"""

import argparse

import numpy as np
import pandas as pd

import fastgru


def features(dates: pd.DatetimeIndex, scaled: np.ndarray) -> np.ndarray:
    """The input (T, 1, 3), from dates and from values that are scaled to mean 0 and deviation 1."""
    angle = 2 * np.pi * dates.day_of_week.to_numpy() / 7
    return np.stack([scaled, np.sin(angle), np.cos(angle)], axis=-1).astype(np.float32)[:, None]


def forecast(model: fastgru.Model, values: pd.Series, days: int) -> pd.Series:
    """The next `days` values: the stream takes the history in one push, then each forecast as its next input."""
    mean, deviation = values.mean(), values.std() or 1.0
    stream = model.stream()
    y = stream.push(features(values.index, ((values - mean) / deviation).to_numpy()))[-1, 0, 0]
    coming = pd.date_range(values.index[-1] + pd.Timedelta(days=1), periods=days)
    found = []
    for k in range(days):
        found.append(mean + deviation * float(y))
        y = stream.push(features(coming[k : k + 1], np.array([y])))[0, 0, 0]
    return pd.Series(found, coming)


def main() -> None:
    parser = argparse.ArgumentParser(description="Forecast every series of a CSV file.")
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--days", type=int, default=7)
    args = parser.parse_args()

    model = fastgru.load(args.model)
    table = pd.read_csv(args.data, parse_dates=["date"]).sort_values("date")
    columns, errors = {}, {}
    for name, rows in table.groupby("series"):
        values = rows.set_index("date")["value"]
        columns[name] = forecast(model, values, args.days)
        known = values.iloc[-args.days :]  # to compare with a forecast made before these days
        errors[name] = (forecast(model, values.iloc[: -args.days], args.days) - known).abs().mean() / known.abs().mean()
    print(pd.DataFrame(columns).round(1).to_string())
    print(f"mean error of the last {args.days} days:", ", ".join(f"{name} {e:.1%}" for name, e in errors.items()))


if __name__ == "__main__":
    main()
