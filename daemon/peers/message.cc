#include "daemon/peers/message.h"
