#include "tracker.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace {

constexpr float kSmoothing = 0.8f;    // weight of the past in the moving average of the scores
constexpr float kClassMargin = 0.1f;  // the shown class changes when another one leads by this

}  // namespace

std::vector<int> assign(const Matrix& similarity) {
  // Shortest augmenting paths with potentials (Jonker and Volgenant, 1987). Row and column 0 are
  // artificial: path searches begin there.
  const int n = similarity.rows;
  const double infinity = std::numeric_limits<double>::infinity();
  std::vector<double> row_potential(n + 1, 0.0), column_potential(n + 1, 0.0);
  std::vector<int> row_of(n + 1, 0), previous(n + 1, 0);
  for (int row = 1; row <= n; ++row) {
    std::vector<double> distance(n + 1, infinity);
    std::vector<char> done(n + 1, 0);
    int column = 0;
    row_of[0] = row;
    do {
      done[column] = 1;
      const int here = row_of[column];
      int nearest = 0;
      double step = infinity;
      for (int j = 1; j <= n; ++j) {
        if (done[j]) continue;
        const double cost = -static_cast<double>(similarity.row(here - 1)[j - 1]);
        const double reduced = cost - row_potential[here] - column_potential[j];
        if (reduced < distance[j]) {
          distance[j] = reduced;
          previous[j] = column;
        }
        if (distance[j] < step) {
          step = distance[j];
          nearest = j;
        }
      }
      for (int j = 0; j <= n; ++j) {
        if (done[j]) {
          row_potential[row_of[j]] += step;
          column_potential[j] -= step;
        } else {
          distance[j] -= step;
        }
      }
      column = nearest;
    } while (row_of[column] != 0);
    for (; column != 0; column = previous[column]) row_of[column] = row_of[previous[column]];
  }
  std::vector<int> columns(n);
  for (int j = 1; j <= n; ++j) columns[row_of[j] - 1] = j - 1;
  return columns;
}

void PreviousKeyframe::associate(Matrix& kernels, Matrix& scores) {
  Matrix directions = kernels;
  std::vector<char> finite(kernels.rows);
  for (int i = 0; i < kernels.rows; ++i) {
    float* row = directions.row(i);
    double length = 0;
    for (int d = 0; d < kernels.columns; ++d) length += static_cast<double>(row[d]) * row[d];
    length = std::max(std::sqrt(length), 1e-12);  // so that kernels of zeros stay zero
    finite[i] = std::isfinite(length);
    for (int d = 0; d < kernels.columns; ++d)
      row[d] = finite[i] ? static_cast<float>(row[d] / length) : 0.0f;
  }
  if (reference_.rows == 0) {
    reference_ = directions;
    return;
  }
  const int n = kernels.rows;
  Matrix similarity{n, n, std::vector<float>(static_cast<size_t>(n) * n)};
  for (int track = 0; track < n; ++track)
    for (int query = 0; query < n; ++query)
      similarity.row(track)[query] = std::inner_product(
          reference_.row(track), reference_.row(track) + kernels.columns, directions.row(query), 0.0f);
  const std::vector<int> order = assign(similarity);

  const Matrix old_kernels = kernels, old_scores = scores;
  for (int track = 0; track < n; ++track) {
    const int query = order[track];
    std::copy_n(old_kernels.row(query), kernels.columns, kernels.row(track));
    std::copy_n(old_scores.row(query), scores.columns, scores.row(track));
    if (finite[query]) std::copy_n(directions.row(query), kernels.columns, reference_.row(track));
  }
}

std::vector<int> TrackManager::candidates(const Matrix& scores) const {
  std::vector<int> numbers;
  for (int i = 0; i < scores.rows; ++i) {
    const float* row = scores.row(i);
    const bool was_visible = !tracks_.empty() && tracks_[i].visible;
    if (was_visible || std::any_of(row, row + scores.columns,
                                   [this](float score) { return score >= options_.score_off; }))
      numbers.push_back(i);
  }
  return numbers;
}

void TrackManager::update(const Matrix& scores) {
  const bool is_first = tracks_.empty();
  if (is_first) {
    smoothed_ = scores;
    tracks_.resize(scores.rows);
  }
  std::vector<int> newcomers;
  for (int i = 0; i < scores.rows; ++i) {
    float* smoothed = smoothed_.row(i);
    for (int k = 0; k < scores.columns; ++k) {
      // A score that is no number counts as 0: it would stay in the average for ever.
      const float score = std::isnan(scores.row(i)[k]) ? 0.0f : scores.row(i)[k];
      smoothed[k] =
          is_first ? score : kSmoothing * smoothed[k] + (1 - kSmoothing) * score;
    }
    Track& track = tracks_[i];
    const int leader =
        static_cast<int>(std::max_element(smoothed, smoothed + scores.columns) - smoothed);
    // A hidden track has nothing on the screen that could flicker.
    if (!track.visible || smoothed[leader] >= smoothed[track.label] + kClassMargin)
      track.label = leader;
    track.score = smoothed[track.label];
    track.visible = track.score >= (track.visible ? options_.score_off : options_.score_on);
    const bool is_alive = track.id > 0 && track.hidden <= options_.max_lost;
    if (track.visible && !is_alive) newcomers.push_back(i);
    track.hidden = track.visible ? 0 : track.hidden + 1;
  }
  std::stable_sort(newcomers.begin(), newcomers.end(),
                   [this](int a, int b) { return tracks_[a].score > tracks_[b].score; });
  for (const int i : newcomers) tracks_[i].id = next_id_++;
}

std::vector<int> TrackManager::visible() const {
  std::vector<int> numbers;
  for (size_t i = 0; i < tracks_.size(); ++i)
    if (tracks_[i].visible) numbers.push_back(static_cast<int>(i));
  std::stable_sort(numbers.begin(), numbers.end(),
                   [this](int a, int b) { return tracks_[a].score > tracks_[b].score; });
  if (numbers.size() > static_cast<size_t>(options_.max_instances))
    numbers.resize(options_.max_instances);
  return numbers;
}
