#include "daemon/engine/pacing.h"

#include <algorithm>

namespace lineq::engine {
namespace {

constexpr u64 kMinuteUs = 60'000'000;

}  // namespace

void Pacing::advance(SegmentMs now) {
  const u64 piece = now / kPieceMs;
  if (pieces_ == nullptr || piece <= piece_) {
    return;
  }
  const u64 steps = std::min(piece - piece_, kPieces);
  for (u64 i = 1; i <= steps; ++i) {
    u32& old = (*pieces_)[(piece_ + i) % kPieces];
    window_ -= old;
    old = 0;
  }
  piece_ = piece;
}

bool Pacing::allows(SegmentMs now) {
  return !next(now);
}

std::optional<SegmentMs> Pacing::next(SegmentMs now) {
  if (limit_ == 0) {
    return std::nullopt;
  }
  advance(now);
  SegmentMs due = now;
  // Early by (burst - 1) intervals is fine.
  const u64 early_us = (burst() - 1) * (kMinuteUs / limit_);
  if (tat_us_ > now * 1000 + early_us) {
    due = (tat_us_ - early_us + 999) / 1000;
  }
  if (window_ >= limit_) {
    // The oldest pieces have to go until there is room for one more.
    u64 left = window_;
    u64 piece = piece_ + 1 > kPieces ? piece_ + 1 - kPieces : 0;
    for (; piece <= piece_; ++piece) {
      left -= (*pieces_)[piece % kPieces];
      if (left < limit_) {
        break;
      }
    }
    due = std::max(due, (piece + kPieces) * kPieceMs);
  }
  if (due <= now) {
    return std::nullopt;
  }
  return due;
}

void Pacing::admitted(SegmentMs now) {
  if (pieces_ == nullptr) {
    pieces_ = std::make_unique<std::array<u32, kPieces>>();
    piece_ = now / kPieceMs;
  }
  advance(now);
  ++(*pieces_)[piece_ % kPieces];
  ++window_;
  if (limit_ != 0) {
    tat_us_ = std::max(tat_us_, now * 1000) + kMinuteUs / limit_;
  }
}

void Pacing::remember(SegmentMs then, SegmentMs now) {
  if (pieces_ == nullptr) {
    pieces_ = std::make_unique<std::array<u32, kPieces>>();
    piece_ = now / kPieceMs;
  }
  advance(now);
  if (const u64 piece = then / kPieceMs; piece <= piece_ && piece_ - piece < kPieces) {
    ++(*pieces_)[piece % kPieces];
    ++window_;
  }
}

}  // namespace lineq::engine
