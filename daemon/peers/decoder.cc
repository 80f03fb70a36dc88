#include "daemon/peers/decoder.h"
