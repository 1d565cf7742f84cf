#ifndef CHELA_SERVER_SESSION_STATE_CACHE_H_
#define CHELA_SERVER_SESSION_STATE_CACHE_H_

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/engine/sequence_state.h"
#include "server/session/snapshot_model.h"

namespace chela {

// Bytes of a state in memory, and the most that one of `model` can have.
int64_t HostBytes(const SequenceState& state);
int64_t MaxHostBytes(const SnapshotModel& model);

// The states of sessions that are in memory. A state that several sessions
// share (forks) is counted once. Owned by one thread, or guarded by its owner.
class StateCache {
 public:
  using Key = std::pair<std::string, int64_t>;  // session id, snapshot key

  void Put(const Key& key, SequenceStatePtr state);  // becomes the latest used
  // Null if it is not here; else it becomes the latest used.
  SequenceStatePtr Get(const Key& key);
  bool Has(const Key& key) const { return entries_.count(key) > 0; }
  void Erase(const Key& key);
  // Drops the least recently used ones until at most `bytes` are left; returns
  // their keys.
  std::vector<Key> Shrink(int64_t bytes);

  int64_t bytes() const { return bytes_; }

 private:
  struct Entry {
    SequenceStatePtr state;
    std::list<Key>::iterator place;
  };
  std::map<Key, Entry> entries_;
  std::list<Key> by_use_;  // least recently used first
  std::unordered_map<const SequenceState*, int64_t> holders_;
  int64_t bytes_ = 0;
};

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_STATE_CACHE_H_
