#include "webui/pages/languages.h"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>

#include "webui/pages/accept.h"

namespace lineq::pages {
namespace {

using Phrases = std::array<std::string_view, static_cast<std::size_t>(Phrase::kCount)>;

// Categories of plurals; the forms of a phrase stand in this order.
enum Rule : u8 {
  kOneOther,      // 1 | rest
  kZeroOneOther,  // 0 and 1 | rest
  kOther,         // one form
  kPolish,        // 1 | 2-4, 22-24 ... | rest
  kArabic,        // 0 | 1 | 2 | 3-10 | 11-99 | rest
};

std::size_t form_of(u8 rule, u64 n) {
  const u64 tens = n % 100;
  switch (rule) {
    case kOneOther:
      return n == 1 ? 0 : 1;
    case kZeroOneOther:
      return n <= 1 ? 0 : 1;
    case kPolish:
      if (n == 1) {
        return 0;
      }
      return n % 10 >= 2 && n % 10 <= 4 && (tens < 12 || tens > 14) ? 1 : 2;
    case kArabic:
      if (n <= 2) {
        return n;
      }
      if (tens >= 3 && tens <= 10) {
        return 3;
      }
      return tens >= 11 ? 4 : 5;
    default:
      return 0;
  }
}

constexpr Phrases kEnglish{
    "You are in line",
    "You are next",
    "It is your turn",
    "You are being let in.",
    "Enter now",
    "No more visitors can be let in right now",
    "Nobody is being queued at the moment, so there is no place to wait for. Please come back "
    "later.",
    "Finding your place in line",
    "Your place in line",
    "Estimated wait",
    "You are next in line.",
    "{n} person is ahead of you.|{n} people are ahead of you.",
    "{n} person is waiting.|{n} people are waiting.",
    "Whenever there is room, one of those waiting is drawn at random.",
    "{n} minute|{n} minutes",
    "{a} to {n} minute|{a} to {n} minutes",
    "{n} hour|{n} hours",
    "{a} to {n} hour|{a} to {n} hours",
    "less than a minute",
    "not known yet",
    "Keep this page open: it lets you in by itself. Reloading does not cost you your place.",
    "If you lose the connection, your place is kept for {time}.",
    "Nobody is being let in at the moment. The line keeps its order, and it goes on by itself.",
    "Connection lost. Your place is kept until {time}. Trying again …",
    "Connection lost. Trying again …",
    "The line is resting for a moment. Your place is kept.",
    "Progress",
    "This page reloads by itself every second.|This page reloads by itself every {n} seconds.",
    "Try again",
};

constexpr Phrases kGerman{
    "Sie sind in der Warteschlange",
    "Sie sind gleich dran",
    "Sie sind an der Reihe",
    "Sie werden jetzt eingelassen.",
    "Jetzt eintreten",
    "Zurzeit können keine weiteren Besucher eingelassen werden",
    "Im Moment gibt es keine Warteschlange. Bitte kommen Sie später wieder.",
    "Ihr Platz wird ermittelt",
    "Ihr Platz in der Warteschlange",
    "Voraussichtliche Wartezeit",
    "Sie sind als Nächstes an der Reihe.",
    "{n} Person ist vor Ihnen.|{n} Personen sind vor Ihnen.",
    "{n} Person wartet.|{n} Personen warten.",
    "Sobald Platz ist, wird unter allen Wartenden gelost.",
    "{n} Minute|{n} Minuten",
    "{a} bis {n} Minute|{a} bis {n} Minuten",
    "{n} Stunde|{n} Stunden",
    "{a} bis {n} Stunde|{a} bis {n} Stunden",
    "weniger als eine Minute",
    "noch nicht bekannt",
    "Lassen Sie diese Seite offen: Sie werden automatisch eingelassen. Neuladen kostet Sie Ihren "
    "Platz nicht.",
    "Wenn die Verbindung abbricht, bleibt Ihr Platz {time} reserviert.",
    "Im Moment wird niemand eingelassen. Die Reihenfolge bleibt, und es geht von selbst weiter.",
    "Verbindung unterbrochen. Ihr Platz ist bis {time} Uhr reserviert. Neuer Versuch …",
    "Verbindung unterbrochen. Neuer Versuch …",
    "Die Warteschlange ruht einen Moment. Ihr Platz bleibt Ihnen.",
    "Fortschritt",
    "Diese Seite lädt jede Sekunde von selbst neu.|Diese Seite lädt alle {n} Sekunden von selbst "
    "neu.",
    "Erneut versuchen",
};

constexpr Phrases kSpanish{
    "Está en la fila",
    "Ya casi es su turno",
    "Es su turno",
    "Está entrando.",
    "Entrar ahora",
    "Ahora mismo no pueden entrar más visitantes",
    "En este momento no hay fila de espera. Vuelva más tarde, por favor.",
    "Buscando su lugar en la fila",
    "Su lugar en la fila",
    "Espera estimada",
    "Es la próxima persona en entrar.",
    "Hay {n} persona delante de usted.|Hay {n} personas delante de usted.",
    "Hay {n} persona esperando.|Hay {n} personas esperando.",
    "Cuando hay sitio, se sortea entre quienes esperan.",
    "{n} minuto|{n} minutos",
    "de {a} a {n} minuto|de {a} a {n} minutos",
    "{n} hora|{n} horas",
    "de {a} a {n} hora|de {a} a {n} horas",
    "menos de un minuto",
    "aún no se conoce",
    "Deje esta página abierta: entrará automáticamente. Recargarla no le hace perder su lugar.",
    "Si pierde la conexión, su lugar se guarda durante {time}.",
    "En este momento no entra nadie. La fila conserva su orden y continuará por sí sola.",
    "Se perdió la conexión. Su lugar se guarda hasta las {time}. Reintentando …",
    "Se perdió la conexión. Reintentando …",
    "La fila descansa un momento. Su lugar está guardado.",
    "Progreso",
    "Esta página se recarga sola cada segundo.|Esta página se recarga sola cada {n} segundos.",
    "Reintentar",
};

constexpr Phrases kFrench{
    "Vous êtes dans la file d’attente",
    "C’est presque à vous",
    "C’est à vous",
    "Vous allez entrer.",
    "Entrer maintenant",
    "Plus aucun visiteur ne peut entrer pour le moment",
    "Il n’y a pas de file d’attente en ce moment. Merci de revenir plus tard.",
    "Recherche de votre place",
    "Votre place dans la file",
    "Attente estimée",
    "C’est vous le prochain.",
    "{n} personne est devant vous.|{n} personnes sont devant vous.",
    "{n} personne attend.|{n} personnes attendent.",
    "Dès qu’une place se libère, une personne en attente est tirée au sort.",
    "{n} minute|{n} minutes",
    "{a} à {n} minute|{a} à {n} minutes",
    "{n} heure|{n} heures",
    "{a} à {n} heure|{a} à {n} heures",
    "moins d’une minute",
    "pas encore connue",
    "Gardez cette page ouverte : vous entrerez automatiquement. La recharger ne vous fait pas "
    "perdre votre place.",
    "Si la connexion est coupée, votre place est gardée pendant {time}.",
    "Personne n’entre en ce moment. La file garde son ordre et reprendra d’elle-même.",
    "Connexion perdue. Votre place est gardée jusqu’à {time}. Nouvel essai …",
    "Connexion perdue. Nouvel essai …",
    "La file fait une courte pause. Votre place est gardée.",
    "Progression",
    "Cette page se recharge d’elle-même chaque seconde.|Cette page se recharge d’elle-même toutes "
    "les {n} secondes.",
    "Réessayer",
};

constexpr Phrases kItalian{
    "Sei in fila",
    "È quasi il tuo turno",
    "È il tuo turno",
    "Stai per entrare.",
    "Entra ora",
    "Al momento non possono entrare altri visitatori",
    "In questo momento non c’è una fila d’attesa. Torna più tardi, per favore.",
    "Cerchiamo il tuo posto in fila",
    "Il tuo posto in fila",
    "Attesa stimata",
    "La prossima persona sei tu.",
    "{n} persona è davanti a te.|{n} persone sono davanti a te.",
    "{n} persona è in attesa.|{n} persone sono in attesa.",
    "Quando c’è posto, si estrae a sorte tra chi aspetta.",
    "{n} minuto|{n} minuti",
    "da {a} a {n} minuto|da {a} a {n} minuti",
    "{n} ora|{n} ore",
    "da {a} a {n} ora|da {a} a {n} ore",
    "meno di un minuto",
    "non ancora nota",
    "Tieni aperta questa pagina: entrerai automaticamente. Se la ricarichi non perdi il posto.",
    "Se cade la connessione, il tuo posto resta riservato per {time}.",
    "In questo momento non entra nessuno. La fila mantiene l’ordine e riprenderà da sola.",
    "Connessione persa. Il tuo posto è riservato fino alle {time}. Nuovo tentativo …",
    "Connessione persa. Nuovo tentativo …",
    "La fila è ferma per un attimo. Il tuo posto è riservato.",
    "Avanzamento",
    "Questa pagina si ricarica da sola ogni secondo.|Questa pagina si ricarica da sola ogni {n} "
    "secondi.",
    "Riprova",
};

constexpr Phrases kJapanese{
    "順番待ちの列に並んでいます",
    "まもなくあなたの番です",
    "あなたの番です",
    "ただいまサイトへご案内します。",
    "今すぐ入る",
    "ただいま満員のためご案内できません",
    "現在、順番待ちの受付は行っていません。しばらくしてからもう一度お越しください。",
    "順番を確認しています",
    "現在の順番",
    "待ち時間の目安",
    "次がお客様の番です。",
    "お客様の前に{n}人います。",
    "{n}人が待っています。",
    "空きが出るたびに、お待ちの方の中から抽選でご案内します。",
    "約{n}分",
    "約{a}～{n}分",
    "約{n}時間",
    "約{a}～{n}時間",
    "1分以内",
    "まだ分かりません",
    "このページを開いたままお待ちください。順番が来ると自動的に入場できます。"
    "再読み込みしても順番は変わりません。",
    "接続が切れた場合も、順番は{time}の間確保されます。",
    "ただいま入場を一時停止しています。順番はそのまま保たれ、自動的に再開します。",
    "接続が切れました。順番は{time}まで確保されています。再接続しています…",
    "接続が切れました。再接続しています…",
    "順番待ちを少しの間休止しています。順番は確保されています。",
    "進み具合",
    "このページは{n}秒ごとに自動で更新されます。",
    "もう一度試す",
};

constexpr Phrases kKorean{
    "대기 중입니다",
    "곧 입장합니다",
    "입장할 차례입니다",
    "지금 사이트로 입장합니다.",
    "지금 입장하기",
    "지금은 더 이상 입장할 수 없습니다",
    "현재 대기열을 운영하지 않습니다. 잠시 후 다시 방문해 주세요.",
    "대기 순서를 확인하고 있습니다",
    "내 대기 순서",
    "예상 대기 시간",
    "다음이 고객님 차례입니다.",
    "앞에 {n}명이 있습니다.",
    "{n}명이 기다리고 있습니다.",
    "자리가 나면 대기 중인 분들 가운데 추첨하여 입장합니다.",
    "약 {n}분",
    "약 {a}~{n}분",
    "약 {n}시간",
    "약 {a}~{n}시간",
    "1분 이내",
    "아직 알 수 없음",
    "이 페이지를 열어 두세요. 차례가 되면 자동으로 입장합니다. 새로 고쳐도 순서는 그대로입니다.",
    "연결이 끊겨도 {time} 동안 순서가 유지됩니다.",
    "지금은 입장이 잠시 멈췄습니다. 순서는 그대로이며 자동으로 다시 시작됩니다.",
    "연결이 끊겼습니다. {time}까지 순서가 유지됩니다. 다시 연결하는 중…",
    "연결이 끊겼습니다. 다시 연결하는 중…",
    "대기열이 잠시 멈췄습니다. 순서는 그대로 유지됩니다.",
    "진행 상황",
    "이 페이지는 {n}초마다 자동으로 새로 고쳐집니다.",
    "다시 시도",
};

constexpr Phrases kDutch{
    "U staat in de wachtrij",
    "U bent bijna aan de beurt",
    "U bent aan de beurt",
    "U wordt binnengelaten.",
    "Nu naar binnen",
    "Er kunnen nu geen bezoekers meer worden toegelaten",
    "Er is op dit moment geen wachtrij. Kom later nog eens terug.",
    "Uw plaats wordt opgezocht",
    "Uw plaats in de rij",
    "Verwachte wachttijd",
    "U bent als volgende aan de beurt.",
    "Er is {n} persoon voor u.|Er zijn {n} personen voor u.",
    "Er wacht {n} persoon.|Er wachten {n} personen.",
    "Zodra er plaats is, wordt er geloot onder iedereen die wacht.",
    "{n} minuut|{n} minuten",
    "{a} tot {n} minuut|{a} tot {n} minuten",
    "{n} uur|{n} uur",
    "{a} tot {n} uur|{a} tot {n} uur",
    "minder dan een minuut",
    "nog niet bekend",
    "Laat deze pagina open: u wordt vanzelf binnengelaten. Vernieuwen kost u uw plaats niet.",
    "Als de verbinding wegvalt, blijft uw plaats {time} bewaard.",
    "Er wordt nu niemand binnengelaten. De volgorde blijft en het gaat vanzelf verder.",
    "Verbinding verbroken. Uw plaats blijft bewaard tot {time}. Nieuwe poging …",
    "Verbinding verbroken. Nieuwe poging …",
    "De wachtrij rust even. Uw plaats blijft bewaard.",
    "Voortgang",
    "Deze pagina vernieuwt zich elke seconde.|Deze pagina vernieuwt zich elke {n} seconden.",
    "Opnieuw proberen",
};

constexpr Phrases kPolishPhrases{
    "Jesteś w kolejce",
    "Zaraz Twoja kolej",
    "Twoja kolej",
    "Za chwilę wejdziesz na stronę.",
    "Wejdź teraz",
    "W tej chwili nie można wpuścić więcej osób",
    "Obecnie nie ma kolejki. Prosimy wrócić później.",
    "Szukamy Twojego miejsca w kolejce",
    "Twoje miejsce w kolejce",
    "Przewidywany czas oczekiwania",
    "Następna kolej jest Twoja.",
    "Przed Tobą jest {n} osoba.|Przed Tobą są {n} osoby.|Przed Tobą jest {n} osób.",
    "Czeka {n} osoba.|Czekają {n} osoby.|Czeka {n} osób.",
    "Gdy zwolni się miejsce, wśród czekających odbywa się losowanie.",
    "{n} minuta|{n} minuty|{n} minut",
    "od {a} do {n} minuty|od {a} do {n} minut|od {a} do {n} minut",
    "{n} godzina|{n} godziny|{n} godzin",
    "od {a} do {n} godziny|od {a} do {n} godzin|od {a} do {n} godzin",
    "mniej niż minuta",
    "jeszcze nieznany",
    "Nie zamykaj tej strony: wejdziesz automatycznie. Odświeżenie nie odbiera Ci miejsca.",
    "Jeśli połączenie zostanie przerwane, zachowamy Twoje miejsce ({time}).",
    "W tej chwili nikt nie jest wpuszczany. Kolejność zostaje, a kolejka ruszy sama.",
    "Utracono połączenie. Twoje miejsce jest zachowane do {time}. Ponawiamy próbę…",
    "Utracono połączenie. Ponawiamy próbę…",
    "Kolejka ma krótką przerwę. Twoje miejsce jest zachowane.",
    "Postęp",
    "Ta strona odświeża się sama co sekundę.|Ta strona odświeża się sama co {n} sekundy.|Ta strona "
    "odświeża się sama co {n} sekund.",
    "Spróbuj ponownie",
};

constexpr Phrases kPortuguese{
    "Você está na fila",
    "Está quase na sua vez",
    "Chegou a sua vez",
    "Você está entrando.",
    "Entrar agora",
    "No momento não é possível receber mais visitantes",
    "Não há fila de espera agora. Volte mais tarde, por favor.",
    "Procurando o seu lugar na fila",
    "Seu lugar na fila",
    "Espera estimada",
    "Você é a próxima pessoa.",
    "Há {n} pessoa na sua frente.|Há {n} pessoas na sua frente.",
    "Há {n} pessoa esperando.|Há {n} pessoas esperando.",
    "Quando surge uma vaga, é feito um sorteio entre quem espera.",
    "{n} minuto|{n} minutos",
    "de {a} a {n} minuto|de {a} a {n} minutos",
    "{n} hora|{n} horas",
    "de {a} a {n} hora|de {a} a {n} horas",
    "menos de um minuto",
    "ainda não se sabe",
    "Deixe esta página aberta: você entrará automaticamente. Recarregar não faz você perder o "
    "lugar.",
    "Se a conexão cair, seu lugar fica guardado por {time}.",
    "Ninguém está entrando no momento. A ordem da fila se mantém e ela continua sozinha.",
    "Conexão perdida. Seu lugar está guardado até {time}. Tentando de novo…",
    "Conexão perdida. Tentando de novo…",
    "A fila fez uma breve pausa. Seu lugar está guardado.",
    "Progresso",
    "Esta página se atualiza sozinha a cada segundo.|Esta página se atualiza sozinha a cada {n} "
    "segundos.",
    "Tentar de novo",
};

constexpr Phrases kTurkish{
    "Sıradasınız",
    "Sıra neredeyse sizde",
    "Sıra sizde",
    "Siteye alınıyorsunuz.",
    "Şimdi gir",
    "Şu anda daha fazla ziyaretçi alınamıyor",
    "Şu anda bekleme sırası yok. Lütfen daha sonra tekrar gelin.",
    "Sıradaki yeriniz bulunuyor",
    "Sıradaki yeriniz",
    "Tahmini bekleme süresi",
    "Sıradaki kişi sizsiniz.",
    "Önünüzde {n} kişi var.|Önünüzde {n} kişi var.",
    "{n} kişi bekliyor.|{n} kişi bekliyor.",
    "Yer açıldıkça bekleyenler arasından kura çekilir.",
    "{n} dakika|{n} dakika",
    "{a} ile {n} dakika arası|{a} ile {n} dakika arası",
    "{n} saat|{n} saat",
    "{a} ile {n} saat arası|{a} ile {n} saat arası",
    "bir dakikadan az",
    "henüz bilinmiyor",
    "Bu sayfayı açık tutun: kendiliğinden içeri alınacaksınız. Yenilemek yerinizi kaybettirmez.",
    "Bağlantınız koparsa yeriniz {time} boyunca korunur.",
    "Şu anda kimse içeri alınmıyor. Sıra bozulmaz ve kendiliğinden devam eder.",
    "Bağlantı koptu. Yeriniz şu saate kadar korunuyor: {time}. Yeniden deneniyor…",
    "Bağlantı koptu. Yeniden deneniyor…",
    "Sıra kısa bir süre durdu. Yeriniz korunuyor.",
    "İlerleme",
    "Bu sayfa her saniye kendiliğinden yenilenir.|Bu sayfa {n} saniyede bir kendiliğinden "
    "yenilenir.",
    "Tekrar dene",
};

constexpr Phrases kChinese{
    "您正在排队",
    "马上就轮到您了",
    "轮到您了",
    "正在为您进入网站。",
    "立即进入",
    "目前无法接待更多访客",
    "目前不接受排队，请稍后再来。",
    "正在确认您的排队位置",
    "您的排队位置",
    "预计等待时间",
    "下一位就是您。",
    "您前面还有 {n} 人。",
    "{n} 人正在等待。",
    "一旦有空位，将从等待者中随机抽取。",
    "约 {n} 分钟",
    "约 {a} 至 {n} 分钟",
    "约 {n} 小时",
    "约 {a} 至 {n} 小时",
    "不到 1 分钟",
    "暂时无法估计",
    "请保持此页面打开，轮到您时会自动进入。刷新页面不会失去您的位置。",
    "如果连接中断，您的位置将保留 {time}。",
    "目前暂停进入。排队顺序不变，稍后会自动继续。",
    "连接已中断。您的位置保留至 {time}，正在重试…",
    "连接已中断，正在重试…",
    "排队暂停片刻，您的位置已保留。",
    "进度",
    "此页面每 {n} 秒自动刷新一次。",
    "重试",
};

constexpr Phrases kArabicPhrases{
    "أنت في قائمة الانتظار",
    "اقترب دورك",
    "حان دورك",
    "يتم إدخالك الآن.",
    "ادخل الآن",
    "لا يمكن إدخال المزيد من الزوار حاليًا",
    "لا توجد قائمة انتظار في الوقت الحالي. يُرجى العودة لاحقًا.",
    "جارٍ تحديد مكانك في القائمة",
    "مكانك في القائمة",
    "وقت الانتظار المتوقع",
    "أنت التالي.",
    "لا أحد أمامك.|أمامك شخص واحد.|أمامك شخصان.|أمامك {n} أشخاص.|أمامك {n} شخصًا.|أمامك {n} شخص.",
    "لا أحد ينتظر.|شخص واحد ينتظر.|شخصان ينتظران.|{n} أشخاص ينتظرون.|{n} شخصًا ينتظرون.|{n} شخص "
    "ينتظرون.",
    "كلما توفر مكان، يُختار أحد المنتظرين عشوائيًا.",
    "{n} دقيقة|دقيقة واحدة|دقيقتان|{n} دقائق|{n} دقيقة|{n} دقيقة",
    "من {a} إلى {n} دقيقة|من {a} إلى {n} دقيقة|من {a} إلى {n} دقيقة|من {a} إلى {n} دقائق|من {a} "
    "إلى "
    "{n} دقيقة|من {a} إلى {n} دقيقة",
    "{n} ساعة|ساعة واحدة|ساعتان|{n} ساعات|{n} ساعة|{n} ساعة",
    "من {a} إلى {n} ساعة|من {a} إلى {n} ساعة|من {a} إلى {n} ساعة|من {a} إلى {n} ساعات|من {a} إلى "
    "{n} "
    "ساعة|من {a} إلى {n} ساعة",
    "أقل من دقيقة",
    "غير معروف بعد",
    "أبقِ هذه الصفحة مفتوحة وستدخل تلقائيًا. إعادة تحميلها لا تفقدك مكانك.",
    "إذا انقطع الاتصال، يُحفظ مكانك لمدة {time}.",
    "لا يدخل أحد في الوقت الحالي. يبقى الترتيب كما هو وسيستأنف تلقائيًا.",
    "انقطع الاتصال. مكانك محفوظ حتى {time}. تجري إعادة المحاولة…",
    "انقطع الاتصال. تجري إعادة المحاولة…",
    "قائمة الانتظار متوقفة للحظات. مكانك محفوظ.",
    "التقدم",
    "تُحدَّث هذه الصفحة تلقائيًا باستمرار.|تُحدَّث هذه الصفحة تلقائيًا كل ثانية.|تُحدَّث هذه الصفحة تلقائيًا "
    "كل "
    "ثانيتين.|تُحدَّث هذه الصفحة تلقائيًا كل {n} ثوانٍ.|تُحدَّث هذه الصفحة تلقائيًا كل {n} ثانية.|تُحدَّث هذه "
    "الصفحة "
    "تلقائيًا كل {n} ثانية.",
    "حاول مرة أخرى",
};

// Joiners have no width, and clang-format counts them when it breaks a string.
// clang-format off
constexpr Phrases kPersian{
    "شما در صف هستید",
    "نوبت شما نزدیک است",
    "نوبت شماست",
    "در حال ورود هستید.",
    "اکنون وارد شوید",
    "در حال حاضر امکان پذیرش بازدیدکننده بیشتری نیست",
    "اکنون صف انتظاری وجود ندارد. لطفاً بعداً دوباره سر بزنید.",
    "در حال یافتن جای شما در صف",
    "جای شما در صف",
    "زمان تقریبی انتظار",
    "نفر بعدی شما هستید.",
    "{n} نفر جلوتر از شماست.|{n} نفر جلوتر از شما هستند.",
    "{n} نفر منتظر است.|{n} نفر منتظر هستند.",
    "هر بار که جایی باز شود، یکی از منتظران به قرعه انتخاب "
    "می‌شود.",
    "{n} دقیقه|{n} دقیقه",
    "{a} تا {n} دقیقه|{a} تا {n} دقیقه",
    "{n} ساعت|{n} ساعت",
    "{a} تا {n} ساعت|{a} تا {n} ساعت",
    "کمتر از یک دقیقه",
    "هنوز مشخص نیست",
    "این صفحه را باز نگه دارید تا به‌طور خودکار وارد شوید. بارگذاری دوباره جای شما "
    "را "
    "نمی‌گیرد.",
    "اگر ارتباط قطع شود، جای شما تا {time} محفوظ می‌ماند.",
    "در حال حاضر کسی وارد نمی‌شود. ترتیب صف حفظ می‌شود و خودبه‌خود "
    "ادامه "
    "می‌یابد.",
    "ارتباط قطع شد. جای شما تا ساعت {time} محفوظ است. تلاش دوباره…",
    "ارتباط قطع شد. تلاش دوباره…",
    "صف برای لحظه‌ای متوقف است. جای شما محفوظ است.",
    "پیشرفت",
    "این صفحه هر ثانیه خودکار تازه می‌شود.|این صفحه هر {n} ثانیه خودکار "
    "تازه "
    "می‌شود.",
    "تلاش دوباره",
};
// clang-format on

// Separators and digits as in CLDR. Narrow and wide no-break spaces are written as bytes.
constexpr std::array<Language, 14> kLanguages{{
    {"en", false, ",", 4, '0', kOneOther, kEnglish},
    {"de", false, ".", 4, '0', kOneOther, kGerman},
    {"es", false, ".", 5, '0', kOneOther, kSpanish},
    {"fr", false, "\xe2\x80\xaf", 4, '0', kZeroOneOther, kFrench},
    {"it", false, ".", 4, '0', kOneOther, kItalian},
    {"ja", false, ",", 4, '0', kOther, kJapanese},
    {"ko", false, ",", 4, '0', kOther, kKorean},
    {"nl", false, ".", 4, '0', kOneOther, kDutch},
    {"pl", false, "\xc2\xa0", 5, '0', kPolish, kPolishPhrases},
    {"pt-BR", false, ".", 4, '0', kZeroOneOther, kPortuguese},
    {"tr", false, ".", 4, '0', kOneOther, kTurkish},
    {"zh-CN", false, ",", 4, '0', kOther, kChinese},
    {"ar", true, "\xd9\xac", 4, 0x660, kArabic, kArabicPhrases},
    {"fa", true, "\xd9\xac", 4, 0x6f0, kZeroOneOther, kPersian},
}};

void append_utf8(u32 code, std::string& out) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else {  // no digit is beyond
    out += static_cast<char>(0xc0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

std::string_view primary(std::string_view tag) {
  return tag.substr(0, tag.find('-'));
}

constexpr u32 kMinute = 60;
constexpr u32 kHour = 3600;

u32 round_to(u32 value, u32 step, bool up) {
  return (up ? (value + step - 1) / step : value / step) * step;
}

}  // namespace

std::string filled(std::string_view text, std::string_view name, std::string_view value) {
  const std::string mark = fmt::format("{{{}}}", name);
  std::string out;
  for (;;) {
    const std::size_t at = text.find(mark);
    out += text.substr(0, at);
    if (at == std::string_view::npos) {
      return out;
    }
    out += value;
    text.remove_prefix(at + mark.size());
  }
}

std::string_view Language::plural(Phrase p, u64 n) const {
  std::string_view forms = phrase(p);
  for (std::size_t skip = form_of(rule, n); skip > 0; --skip) {
    const std::size_t bar = forms.find('|');
    if (bar == std::string_view::npos) {
      break;
    }
    forms.remove_prefix(bar + 1);
  }
  return forms.substr(0, forms.find('|'));
}

std::string Language::number(u64 n) const {
  const std::string digits = fmt::format_int(n).str();
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0 && digits.size() >= grouped_from) {
      out += separator;
    }
    append_utf8(zero + static_cast<u32>(digits[i] - '0'), out);
  }
  return out;
}

std::string Language::counted(Phrase p, u64 n) const {
  return filled(plural(p, n), "n", number(n));
}

std::string Language::duration(u32 low_s, u32 high_s) const {
  high_s = std::max(low_s, high_s);
  if (high_s < kMinute) {
    return std::string(phrase(Phrase::kUnderMinute));
  }
  const bool hours = high_s > 2 * kHour;
  const u32 unit = hours ? kHour : kMinute;
  u32 low = std::max(low_s / unit, 1U);
  u32 high = std::max((high_s + unit - 1) / unit, low);
  if (!hours && high > 20) {
    const u32 step = high > 60 ? 10 : 5;
    low = std::max(round_to(low, step, false), 1U);
    high = round_to(high, step, true);
  }
  if (low == high) {
    return counted(hours ? Phrase::kHours : Phrase::kMinutes, high);
  }
  return filled(counted(hours ? Phrase::kHoursRange : Phrase::kMinutesRange, high), "a",
                number(low));
}

std::span<const Language> languages() {
  return kLanguages;
}

u8 choose_language(std::string_view accept_language, std::string_view fallback) {
  const auto find = [](std::string_view tag) -> std::optional<u8> {
    const auto matching = [&](auto&& matches) -> std::optional<u8> {
      const auto found = std::find_if(kLanguages.begin(), kLanguages.end(), matches);
      return found == kLanguages.end() ? std::nullopt
                                       : std::optional(static_cast<u8>(found - kLanguages.begin()));
    };
    if (const auto exact = matching([&](const Language& l) { return same_word(l.tag, tag); })) {
      return exact;
    }
    // pt-PT reads pt-BR, and zh-TW zh-CN, more easily than English.
    return matching([&](const Language& l) { return same_word(primary(l.tag), primary(tag)); });
  };
  for (const Weighted& wish : weighted(accept_language)) {
    if (wish.weight == 0) {
      break;
    }
    if (wish.value == "*") {
      break;
    }
    if (const auto found = find(wish.value)) {
      return *found;
    }
  }
  return find(fallback).value_or(0);
}

}  // namespace lineq::pages
