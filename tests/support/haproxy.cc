#include "tests/support/haproxy.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>

#include <fmt/format.h>

#include "tests/support/net.h"

namespace lineq::test {
namespace {

std::string replace_all(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// The word after `label`, up to a blank.
std::string word_after(std::string_view text, std::string_view label) {
  const std::size_t at = text.find(label);
  if (at == std::string_view::npos) {
    return {};
  }
  text.remove_prefix(at + label.size());
  return std::string(text.substr(0, text.find_first_of(" \n,")));
}

u64 number_after(std::string_view text, std::string_view label) {
  return std::strtoull(word_after(text, label).c_str(), nullptr, 10);
}

// "key=a use=0 exp=5": splits at blanks that are not escaped.
TableRow parse_row(std::string_view line, std::string& key) {
  TableRow row;
  std::string word;
  const auto take = [&] {
    std::size_t equals = word.find('=');
    while (equals != std::string::npos && equals > 0 && word[equals - 1] == '\\') {
      equals = word.find('=', equals + 1);
    }
    if (equals != std::string::npos) {
      const std::string name = word.substr(0, equals);
      (name == "key" ? key : row[name]) = word.substr(equals + 1);
    }
    word.clear();
  };
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == ' ' && (i == 0 || line[i - 1] != '\\')) {
      take();
    } else {
      word += line[i];
    }
  }
  take();
  return row;
}

}  // namespace

std::string haproxy_path(HaproxyVersion version) {
  const bool v26 = version == HaproxyVersion::k26;
  if (const char* given = std::getenv(v26 ? "LINEQ_HAPROXY_26" : "LINEQ_HAPROXY_30");
      given != nullptr && *given != '\0') {
    return given;
  }
  const std::string path =
      v26 ? "/usr/sbin/haproxy" : LINEQ_SOURCE_DIR "/build/cache/haproxy-3.0/usr/sbin/haproxy";
  return ::access(path.c_str(), X_OK) == 0 ? path : "";
}

std::string_view haproxy_version_name(HaproxyVersion version) {
  return version == HaproxyVersion::k26 ? "2.6" : "3.0";
}

std::string TableDump::value(const std::string& key, const std::string& column) const {
  const auto row = rows.find(key);
  if (row == rows.end()) {
    return {};
  }
  const auto cell = row->second.find(column);
  return cell == row->second.end() ? std::string() : cell->second;
}

TableDump parse_show_table(std::string_view text) {
  TableDump dump;
  for (const std::string& line : lines_of(text)) {
    if (line.starts_with("# table:")) {
      dump.type = word_after(line, "type: ");
      dump.size = number_after(line, "size:");
      dump.used = number_after(line, "used:");
    } else if (const std::size_t at = line.find("key="); at != std::string::npos) {
      std::string key;
      TableRow row = parse_row(std::string_view(line).substr(at), key);
      dump.rows.emplace(std::move(key), std::move(row));
    }
  }
  return dump;
}

std::map<std::string, TableRow> comparable(const TableDump& dump,
                                           const std::vector<std::string>& without) {
  std::map<std::string, TableRow> rows = dump.rows;
  for (auto& [key, row] : rows) {
    row.erase("use");
    row.erase("exp");
    row.erase("shard");
    for (const std::string& column : without) {
      row.erase(column);
    }
  }
  return rows;
}

std::string PeerStatus::session() const {
  return established ? fmt::format("session {} at {}", new_conn, context) : "none";
}

PeerStatus parse_show_peers(std::string_view text, std::string_view peer) {
  PeerStatus status;
  bool inside = false;
  for (const std::string& line : lines_of(text)) {
    if (line.starts_with("  0x") && line.find(": id=") != std::string::npos) {
      inside = line.find(fmt::format(": id={}(", peer)) != std::string::npos;
    }
    if (inside) {
      status.text += line + "\n";
    }
  }
  status.last_status = word_after(status.text, "last_status=");
  status.new_conn = number_after(status.text, "new_conn=");
  status.collisions = number_after(status.text, "coll=");
  status.protocol_errors = number_after(status.text, "proto_err=");
  status.no_heartbeat = number_after(status.text, "no_hbt=");
  status.context = word_after(status.text, "appctx:");
  // ESTA is set on both sides' status 200; the stream has to be there as well.
  status.established = status.last_status == "ESTA" &&
                       status.text.find("appctx:") != std::string::npos &&
                       status.text.find("state=EST") != std::string::npos;
  return status;
}

Haproxy::Haproxy(const TempDir& dir, Setup setup)
    : setup_(std::move(setup)),
      directory_(dir.path()),
      config_path_(dir.file(setup_.name + ".cfg")),
      stats_path_(dir.file(setup_.name + ".stats")),
      peers_port_(free_port()),
      http_port_(free_port()) {
  std::string text = setup_.config;
  setup_.values.insert({{"name", setup_.name},
                        {"stats", stats_path_},
                        {"peers", std::to_string(peers_port_)},
                        {"http", std::to_string(http_port_)}});
  for (const auto& [name, value] : setup_.values) {
    text = replace_all(std::move(text), "{" + name + "}", value);
  }
  write_file(config_path_, text);
}

bool Haproxy::start() {
  process_.kill();
  Command command;
  command.words = {haproxy_path(setup_.version), setup_.master_worker ? "-W" : "-db", "-f",
                   config_path_};
  command.output = directory_ + "/" + setup_.name;
  process_ = Process(command);
  return wait_until([&] { return !this->command("show info").empty() || !process_.running(); }) &&
         process_.running();
}

bool Haproxy::reload() {
  const auto reloads = [&] {
    constexpr std::string_view kSaid = "Reloading HAProxy";
    const std::string said = log();
    std::size_t n = 0;
    for (std::size_t at = said.find(kSaid); at != std::string::npos;
         at = said.find(kSaid, at + 1)) {
      ++n;
    }
    return n;
  };
  const u64 before = worker_pid();
  const std::size_t said = reloads();
  // A master that has just executed itself anew may miss a signal without a word.
  bool heard = false;
  for (int i = 0; i < 3 && !heard; ++i) {
    process_.signal(SIGUSR2);
    heard = wait_until([&] { return reloads() > said; }, Milliseconds(3000));
  }
  return wait_until([&] {
    const u64 now = worker_pid();
    return now != 0 && now != before;
  });
}

std::string Haproxy::command(std::string_view words) const {
  const Fd fd = connect_unix(stats_path_);
  if (!fd.valid() || !send_all(fd, std::string(words) + "\n")) {
    return {};
  }
  return receive_all(fd).bytes;
}

TableDump Haproxy::show_table(std::string_view table) const {
  return parse_show_table(command(fmt::format("show table {}", table)));
}

PeerStatus Haproxy::peer(std::string_view name) const {
  return parse_show_peers(command("show peers"), name);
}

bool Haproxy::wait_peer(Milliseconds patience, std::string_view name) const {
  return wait_until([&] { return peer(name).established; }, patience);
}

std::string Haproxy::set_table(std::string_view table, std::string_view key,
                               std::string_view values) {
  std::string answer = command(fmt::format("set table {} key {} {}", table, key, values));
  answer.erase(std::remove(answer.begin(), answer.end(), '\n'), answer.end());
  return answer;
}

std::string Haproxy::clear_table(std::string_view table, std::string_view key) {
  std::string answer = command(key.empty() ? fmt::format("clear table {}", table)
                                           : fmt::format("clear table {} key {}", table, key));
  answer.erase(std::remove(answer.begin(), answer.end(), '\n'), answer.end());
  return answer;
}

u64 Haproxy::worker_pid() const {
  return number_after(command("show info"), "Pid: ");
}

}  // namespace lineq::test
