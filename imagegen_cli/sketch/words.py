"""The words that can be drawn, in English and Chinese. Only data.

A line of NOUNS is `art size | English | Chinese`; its section says where such a thing belongs. The size is a
percentage of the picture's shorter side, for one that stands in front.
"""

# ruff: noqa: E501 - Chinese counts double; a line is one kind of thing

NOUNS: dict[str, str] = {
    "ground": """
🐈 26 | cat, kitty, feline, tabby | 猫, 猫咪, 小猫咪, 小猫, 橘猫, 喵, 猫儿, 花猫
🐈 20 | kitten | 幼猫
🐈‍⬛ 26 | black cat | 黑猫
🐕 30 | dog, hound, doggy, corgi, husky, retriever, shiba, dachshund, beagle, labrador | 狗, 小狗, 狗狗, 犬, 柯基, 哈士奇, 柴犬, 金毛, 小黄狗, 边牧
🐕 22 | puppy | 幼犬
🐩 28 | poodle | 贵宾犬
🐎 44 | horse, pony, stallion, mare, horses | 马, 骏马, 小马, 战马, 瘦马, 白马, 马群
🐄 42 | cow, cattle | 牛, 奶牛, 牛群
🐂 42 | ox, bull | 公牛, 黄牛, 老牛, 耕牛
🐃 42 | buffalo, yak | 水牛, 牦牛
🦬 44 | bison | 野牛
🐖 32 | pig, piglet, hog | 猪, 小猪
🐑 30 | sheep, lamb | 羊, 绵羊, 小羊, 羊群
🐏 30 | ram | 公羊
🐐 30 | goat | 山羊
🐪 46 | camel, dromedary | 骆驼, 驼队
🦙 40 | llama, alpaca | 羊驼, 美洲驼
🦒 58 | giraffe | 长颈鹿
🐘 58 | elephant | 大象, 象, 小象
🦏 46 | rhino, rhinoceros | 犀牛
🦛 42 | hippo, hippopotamus | 河马
🦣 58 | mammoth | 猛犸
🐁 14 | mouse, mice | 老鼠, 小老鼠, 鼠
🐀 15 | rat | 大鼠
🐹 18 | hamster | 仓鼠
🐇 20 | rabbit, bunny, hare | 兔子, 兔, 小兔子
🐿️ 18 | squirrel, chipmunk | 松鼠
🦔 18 | hedgehog | 刺猬
🦡 24 | badger | 獾
🦨 24 | skunk | 臭鼬
🦝 30 | raccoon | 浣熊
🦊 30 | fox | 狐狸, 小狐狸
🐺 32 | wolf, wolves | 狼, 狼群
🐻 40 | bear | 熊, 棕熊, 小熊
🐻‍❄️ 40 | polar bear | 北极熊
🐼 38 | panda | 熊猫, 大熊猫
🐨 30 | koala | 考拉
🦁 40 | lion | 狮子, 雄狮
🐅 40 | tiger | 老虎, 虎
🐆 38 | leopard, cheetah, jaguar | 豹, 豹子, 猎豹
🦓 38 | zebra | 斑马
🦌 44 | deer, stag, reindeer, elk | 鹿, 小鹿, 梅花鹿, 驯鹿
🫎 46 | moose | 驼鹿
🫏 38 | donkey | 驴
🦘 40 | kangaroo | 袋鼠
🐒 26 | monkey | 猴子, 猴, 猿, 猿猴
🦍 42 | gorilla, ape | 大猩猩, 猩猩
🦧 40 | orangutan | 红毛猩猩
🦄 42 | unicorn | 独角兽
🐊 34 | crocodile, alligator | 鳄鱼
🐸 18 | frog, toad | 青蛙, 蛙
🐢 20 | turtle, tortoise | 乌龟, 海龟, 龟
🐍 22 | snake, serpent | 蛇
🦎 18 | lizard, gecko | 蜥蜴, 壁虎
🐌 12 | snail | 蜗牛
🐛 12 | caterpillar | 毛毛虫
🐜 10 | ant | 蚂蚁
🐞 10 | ladybug, ladybird | 瓢虫
🕷️ 12 | spider | 蜘蛛
🦂 14 | scorpion | 蝎子
🦕 66 | dinosaur, brontosaurus | 恐龙
🦖 66 | t-rex, tyrannosaurus | 霸王龙
🐓 22 | rooster, hen, chicken | 公鸡, 鸡, 母鸡
🐤 14 | chick | 小鸡
🦃 26 | turkey | 火鸡
🐧 28 | penguin | 企鹅
🦩 34 | flamingo | 火烈鸟
🦚 34 | peacock | 孔雀
🪿 24 | goose, geese | 鹅, 大雁, 雁, 鸿雁
🦤 26 | dodo | 渡渡鸟
🧸 22 | teddy, teddy bear | 泰迪熊, 玩具熊
⛄ 36 | snowman | 雪人
🎠 44 | carousel | 旋转木马
🤖 42 | robot, android, cyborg, mecha | 机器人, 机甲
👻 30 | ghost, spirit | 鬼, 幽灵
👽 36 | alien | 外星人
💀 20 | skull | 骷髅, 头骨
🎃 22 | pumpkin, jack-o-lantern | 南瓜, 南瓜灯
🚗 38 | car, automobile | 汽车, 车, 小汽车, 轿车, 车流, 车辆
🏎️ 40 | sports car, racing car, supercar | 跑车, 赛车
🚙 40 | suv, jeep | 越野车, 吉普车
🚕 38 | taxi, cab | 出租车
🚓 38 | police car | 警车
🚌 46 | bus | 公交车, 巴士, 公共汽车
🚒 48 | fire truck, fire engine | 消防车
🚑 44 | ambulance | 救护车
🚚 46 | truck, lorry, van | 卡车, 货车
🚜 40 | tractor | 拖拉机
🚲 32 | bicycle, bike | 自行车, 单车
🛵 32 | scooter, vespa | 踏板车, 电动车
🏍️ 34 | motorcycle, motorbike | 摩托车, 摩托
🚂 52 | train, locomotive, steam train | 火车, 蒸汽火车, 列车
🚄 52 | high-speed train, bullet train | 高铁, 动车
🚋 46 | tram, streetcar, trolley | 电车, 有轨电车
🪨 20 | rock, boulder | 石头, 岩石
🍄 16 | mushroom, toadstool | 蘑菇
🔥 26 | fire, campfire, bonfire, flame | 火, 篝火, 火焰
⛲ 36 | fountain | 喷泉
🪑 30 | chair | 椅子
🛋️ 44 | sofa, couch | 沙发
🛏️ 48 | bed | 床
🛷 30 | sled, sledge, sleigh | 雪橇
🪵 20 | log, firewood | 木头, 木柴
🏮 22 | lantern, paper lantern | 灯笼, 红灯笼, 灯火, 渔火, 花灯
""",
    "person": """
👩 46 | woman, lady, female, mother, mom, businesswoman | 女人, 女士, 女性, 女子, 美女, 妈妈, 母亲, 女郎, 妇人
👨 46 | man, gentleman, male, guy, father, dad, businessman | 男人, 男士, 男性, 男子, 爸爸, 父亲, 大叔
👧 38 | girl, schoolgirl | 女孩, 小女孩, 少女, 姑娘, 女童, 小姑娘
👦 38 | boy, child, kid, children | 男孩, 小男孩, 少年, 孩子, 小孩, 儿童
👶 24 | baby, infant, toddler | 婴儿, 宝宝
👵 44 | grandmother, grandma, old woman | 奶奶, 老奶奶, 老太太, 外婆
👴 44 | grandfather, grandpa, old man | 爷爷, 老爷爷, 老人, 老头, 外公, 翁, 老翁, 渔翁, 老者
🧍 46 | person, people, human, figure, tourist, family | 人, 人物, 人们, 家人, 一家人, 家庭, 行人, 路人, 游客
🧑‍🚀 46 | astronaut, cosmonaut, spaceman | 宇航员, 航天员, 太空人
🧙‍♂️ 46 | wizard, mage, sorcerer, magician | 巫师, 魔法师, 法师
🧙‍♀️ 46 | witch, sorceress | 女巫
🧚 34 | fairy, pixie | 仙女, 精灵
🧜‍♀️ 40 | mermaid | 美人鱼
🥷 46 | ninja, assassin | 忍者, 刺客
👸 44 | princess, queen | 公主, 女王, 皇后
🤴 46 | prince, king | 王子, 国王, 皇帝
🎅 46 | santa, santa claus | 圣诞老人
🧛 46 | vampire | 吸血鬼
🧟 46 | zombie | 僵尸, 丧尸
🧝‍♀️ 46 | elf | 女精灵
🦸 46 | superhero, hero | 超级英雄, 英雄
💃 46 | dancer, ballerina | 舞者, 舞女, 芭蕾舞者
🏃 42 | runner, jogger | 跑步者, 跑者
🚴 46 | cyclist, biker | 骑行者
🧘 36 | monk, yogi | 和尚, 僧人
👮 46 | policeman, police officer, cop | 警察
👩‍🍳 46 | chef, cook | 厨师
👩‍🌾 46 | farmer | 农民, 农夫
👩‍⚕️ 46 | doctor, nurse | 医生, 护士
👩‍🎨 46 | painter, artist | 画家, 艺术家
👩‍🏫 46 | teacher | 老师, 教师
👨‍🚒 46 | firefighter, fireman | 消防员
🕵️ 46 | detective, spy | 侦探, 间谍
👷 46 | builder, worker | 工人, 建筑工人
👰 46 | bride | 新娘
🤵 46 | groom | 新郎
💂 46 | soldier, guard, knight, warrior | 士兵, 卫兵, 骑士, 战士, 武士
👫 48 | couple, lovers | 情侣, 恋人, 夫妻
🏂 38 | snowboarder | 滑雪板手
⛷️ 40 | skier | 滑雪者
""",
    "tall": """
🏠 58 | house, cottage, home, cabin, hut, building | 房子, 房屋, 小屋, 木屋, 屋子, 农舍, 建筑
🏘️ 62 | village, town | 村庄, 小镇, 村落, 乡村, 人家, 山村, 古镇, 水乡
🏡 60 | villa, country house | 别墅
🏰 78 | castle, fortress | 城堡
🏯 74 | pagoda, palace, japanese castle, pavilion | 宫殿, 天守阁, 皇宫, 故宫, 楼阁, 阁楼, 古楼, 高阁
🗼 84 | tower, eiffel tower, tokyo tower | 塔, 铁塔, 埃菲尔铁塔, 高塔
⛪ 64 | church, cathedral, chapel | 教堂
🕌 66 | mosque | 清真寺
🛕 66 | temple | 寺庙, 神庙, 庙, 寺, 古寺, 寺院, 佛寺
⛩️ 54 | torii, shrine | 鸟居, 神社
🏛️ 60 | museum, parthenon | 博物馆, 神殿
🏢 70 | office building, skyscraper, apartment | 大楼, 写字楼, 公寓
🏫 62 | school | 学校
🏥 62 | hospital | 医院
🏭 66 | factory | 工厂
🎡 74 | ferris wheel | 摩天轮
🎢 74 | roller coaster | 过山车
🎪 60 | circus, circus tent | 马戏团
⛺ 38 | tent, camp | 帐篷
🛖 46 | straw hut, thatched hut | 茅屋, 草屋, 茅庐, 草堂, 茅舍
🏚️ 56 | ruin, ruins, abandoned house, haunted house | 废墟, 鬼屋
🌋 86 | volcano | 火山
🗻 86 | mount fuji, fuji | 富士山
🗽 78 | statue of liberty | 自由女神像
🌲 60 | pine, fir, pine tree, evergreen, spruce, cedar | 松树, 杉树, 松, 青松, 松柏, 柏树, 冷杉, 雪松
🌳 60 | tree, oak, willow, birch, elm | 树, 大树, 树木, 橡树, 柳树, 柳, 垂柳, 杨柳, 梧桐, 老树, 古树, 榕树
🌴 62 | palm, palm tree | 棕榈树, 椰子树, 椰树
🌵 40 | cactus, cacti | 仙人掌
🎄 50 | christmas tree | 圣诞树
🎋 56 | bamboo | 竹子, 竹林, 竹
cherry-tree 60 | cherry blossom tree, sakura tree, cherry tree, cherry blossom, cherry blossoms, sakura, plum blossom, plum blossoms, peach blossom, peach blossoms | 樱花树, 樱花, 桃花, 梅花, 杏花, 红梅, 寒梅, 桃树, 梅
maple-tree 60 | maple, maple tree | 枫树, 红枫
lighthouse 80 | lighthouse | 灯塔
windmill 66 | windmill | 风车
""",
    "flower": """
🌹 16 | rose, roses | 玫瑰, 玫瑰花, 玫瑰花束
🌷 16 | tulip | 郁金香
🌻 22 | sunflower | 向日葵
🌺 14 | hibiscus | 木槿, 芙蓉
🌼 14 | daisy, daisies, dandelion, flower, wildflower, blossom, bloom | 雏菊, 菊花, 花, 鲜花, 花朵, 野花
🪻 16 | lavender, hyacinth | 薰衣草, 风信子
🪷 18 | lotus, water lily | 荷花, 莲花, 睡莲
🌾 18 | wheat, rice plant, reed, reeds | 麦子, 小麦, 稻子, 水稻, 芦苇, 麦穗, 稻穗, 芦苇荡
🍀 10 | clover | 四叶草, 三叶草
🌱 12 | seedling, sprout | 幼苗, 嫩芽
🌽 16 | corn, maize | 玉米
""",
    "boat": """
⛵ 36 | boat, sailboat, yacht, sailing boat, fishing boat, dinghy | 船, 小船, 帆船, 游艇, 舟, 小舟, 孤舟, 扁舟, 轻舟, 渔舟, 渔船, 客船, 画船, 孤帆, 帆, 帆影
🚤 34 | speedboat, motorboat | 快艇, 摩托艇
🛶 34 | canoe, kayak, rowboat | 独木舟, 皮划艇, 划艇
🚢 48 | ship, cruise ship, warship | 轮船, 大船, 游轮, 军舰
⛴️ 46 | ferry | 渡轮
""",
    "swimmer": """
🦆 18 | duck, duckling | 鸭子, 鸭, 野鸭
🦢 26 | swan | 天鹅
""",
    "sea": """
🐟 20 | fish | 鱼, 小鱼, 鱼群, 鲤鱼, 草鱼, 鲫鱼, 飞鱼
🐠 20 | tropical fish, clownfish, goldfish | 热带鱼, 小丑鱼, 金鱼, 锦鲤
🐡 18 | pufferfish | 河豚
🐬 36 | dolphin | 海豚
🐋 62 | whale | 鲸鱼, 鲸, 蓝鲸
🦈 44 | shark | 鲨鱼
🐙 28 | octopus | 章鱼, 八爪鱼
🦑 26 | squid | 鱿鱼, 乌贼
🪼 24 | jellyfish | 水母
🦭 34 | seal, sea lion | 海豹, 海狮
🦀 16 | crab | 螃蟹
🦞 18 | lobster | 龙虾
🦐 14 | shrimp, prawn | 虾
🐚 12 | shell, seashell, conch | 贝壳, 海螺
🪸 22 | coral | 珊瑚
🤿 20 | snorkel, diving mask | 潜水镜
""",
    "sky": """
🐦 20 | bird, robin, songbird | 鸟, 小鸟, 鸟儿, 飞鸟, 鸟群, 群鸟
🐦‍⬛ 22 | crow, raven, blackbird | 乌鸦, 鸦, 昏鸦, 寒鸦
🕊️ 22 | dove, pigeon, seagull, gull | 鸽子, 白鸽, 海鸥
🦅 30 | eagle, hawk, falcon | 鹰, 老鹰, 雄鹰
🦉 22 | owl | 猫头鹰
🦜 24 | parrot, macaw | 鹦鹉
🦇 20 | bat | 蝙蝠
🦋 14 | butterfly, butterflies, moth | 蝴蝶, 蛾
🐝 11 | bee, bumblebee | 蜜蜂
🐉 56 | dragon | 龙, 巨龙, 飞龙
✈️ 36 | plane, airplane, aeroplane, aircraft, jet | 飞机, 客机
🛩️ 34 | small plane, biplane | 小飞机, 双翼机
🚁 34 | helicopter | 直升机
🚀 40 | rocket, spaceship, spacecraft, space shuttle | 火箭, 飞船, 宇宙飞船, 太空船
🛸 36 | ufo, flying saucer | 飞碟, 不明飞行物
🛰️ 26 | satellite | 卫星, 人造卫星
🎈 18 | balloon | 气球
hot-air-balloon 38 | hot air balloon, hot-air balloon | 热气球
🪂 32 | parachute, skydiver | 降落伞, 跳伞
🪁 24 | kite | 风筝
fireworks 44 | fireworks, firework | 烟花, 烟火
🪽 24 | wing | 翅膀
""",
    "heaven": """
🪐 34 | saturn, planet | 土星, 行星, 星球
🌍 40 | earth, globe, the earth | 地球
☄️ 26 | comet, meteor, shooting star, asteroid | 彗星, 流星, 陨石
⭐ 12 | star | 星形, 五角星
""",
    "thing": """
☕ 30 | coffee, cup of coffee, coffee cup, espresso, latte, cappuccino, cup, mug | 咖啡, 咖啡杯, 杯子, 拿铁, 热咖啡
🍵 28 | tea, cup of tea, green tea, matcha | 茶, 绿茶, 抹茶
🫖 32 | teapot | 茶壶
🥛 26 | milk, glass of milk | 牛奶
🍷 30 | wine, wine glass, red wine | 红酒, 葡萄酒
🍺 30 | beer | 啤酒
🍶 28 | sake, rice wine | 酒, 白酒, 清酒, 浊酒, 美酒, 酒壶
🎣 34 | fishing rod, fishing pole | 鱼竿, 钓竿
🍸 30 | cocktail, martini | 鸡尾酒
🧃 22 | juice | 果汁
🍾 34 | champagne, bottle | 香槟, 酒瓶, 瓶子
🎂 44 | cake, birthday cake | 蛋糕, 生日蛋糕
🍰 32 | slice of cake, shortcake, cheesecake | 切块蛋糕, 奶油蛋糕
🧁 24 | cupcake, muffin | 纸杯蛋糕
🍞 30 | bread, loaf, toast | 面包, 吐司
🥐 28 | croissant | 可颂, 牛角包
🥖 32 | baguette | 法棍
🍩 26 | donut, doughnut | 甜甜圈
🍪 22 | cookie, biscuit | 饼干, 曲奇
🍫 24 | chocolate | 巧克力
🍬 18 | candy, sweets | 糖果, 糖
🍭 24 | lollipop | 棒棒糖
🍦 28 | ice cream, soft ice cream, gelato | 冰淇淋, 冰激凌
🍎 24 | apple | 苹果
🍏 24 | green apple | 青苹果
🍐 24 | pear | 梨, 梨子
🍊 22 | tangerine, mandarin, orange fruit | 橘子, 橙子, 柑橘
🍋 22 | lemon | 柠檬
🍌 24 | banana | 香蕉
🍉 28 | watermelon | 西瓜
🍇 26 | grape | 葡萄
🍓 20 | strawberry, strawberries | 草莓
🍒 20 | cherry, cherries | 樱桃
🍑 22 | peach, peaches | 桃子, 桃
🍍 32 | pineapple | 菠萝
🥭 24 | mango, mangoes | 芒果
🥝 20 | kiwi | 猕猴桃
🥥 24 | coconut | 椰子
🫐 20 | blueberry, blueberries | 蓝莓
🍅 22 | tomato, tomatoes | 西红柿, 番茄
🥕 24 | carrot | 胡萝卜, 萝卜
🥔 22 | potato, potatoes | 土豆
🥦 26 | broccoli | 西兰花
🍆 26 | eggplant | 茄子
🌶️ 22 | pepper, chili | 辣椒
🥚 18 | egg | 鸡蛋, 蛋
🧀 28 | cheese | 奶酪, 芝士
🍕 34 | pizza | 披萨, 比萨
🍔 32 | burger, hamburger, cheeseburger | 汉堡, 汉堡包
🍟 28 | fries, french fries | 薯条
🌭 30 | hot dog | 热狗
🥪 28 | sandwich, sandwiches | 三明治
🌮 30 | taco | 塔可
🍜 34 | noodles, noodle, ramen, noodle soup, bowl of noodles | 面条, 拉面, 面, 牛肉面, 汤面
🍝 34 | spaghetti, pasta | 意面, 意大利面
🍚 28 | rice, bowl of rice | 米饭, 饭
🍣 30 | sushi | 寿司
🥟 28 | dumpling, dumplings | 饺子, 包子
🥮 26 | mooncake | 月饼
🍱 34 | bento | 便当
🥗 32 | salad | 沙拉
🥣 28 | bowl, soup | 碗, 汤
🍽️ 34 | plate, dinner | 盘子, 晚餐
📖 34 | book, open book | 书, 书本
📚 32 | books, stack of books | 书籍, 一摞书
💻 36 | laptop, computer | 电脑, 笔记本电脑
📱 24 | phone, smartphone, cell phone | 手机, 电话
📺 38 | tv, television | 电视, 电视机
📷 28 | camera | 相机, 照相机
⌚ 22 | watch, wristwatch | 手表
🕰️ 30 | clock | 钟, 时钟
⏰ 26 | alarm clock | 闹钟
💡 26 | light bulb, lightbulb, bulb | 灯泡
🕯️ 28 | candle | 蜡烛
🎸 44 | guitar | 吉他
🎹 36 | piano, keyboard | 钢琴, 键盘
🎻 40 | violin, cello | 小提琴, 提琴
🥁 34 | drum | 鼓
🎺 34 | trumpet | 小号
🎷 36 | saxophone | 萨克斯
🔑 22 | key | 钥匙
🔒 22 | lock, padlock | 锁
🗡️ 34 | sword, dagger, blade | 剑, 宝剑, 刀, 长剑, 匕首
🛡️ 32 | shield | 盾, 盾牌
🏹 36 | bow and arrow | 弓箭
👑 26 | crown | 王冠, 皇冠
💎 24 | diamond, gem, jewel, crystal | 钻石, 宝石, 水晶
💍 20 | ring | 戒指
🎁 28 | gift, present, gift box | 礼物, 礼盒
⚽ 24 | football, soccer ball, ball | 足球, 球
🏀 24 | basketball | 篮球
🎾 20 | tennis ball | 网球
🎲 20 | dice | 骰子
♟️ 24 | chess, chess piece | 国际象棋, 棋子
🎨 30 | palette, paint palette | 调色板
🏺 34 | vase, urn, amphora, pottery | 花瓶, 陶罐, 瓷器
💐 34 | bouquet, bunch of flowers | 花束
🪴 34 | potted plant, houseplant, plant | 盆栽, 植物, 绿植
☂️ 32 | umbrella | 伞, 雨伞
🎩 26 | top hat, hat | 帽子, 礼帽
👓 22 | glasses, spectacles | 眼镜
👟 26 | shoe, sneaker, sneakers | 鞋, 鞋子, 运动鞋
👜 28 | bag, handbag | 包, 手提包
🎒 30 | backpack | 背包, 书包
🧳 32 | suitcase, luggage | 行李箱
🔭 36 | telescope | 望远镜
🔬 34 | microscope | 显微镜
🗺️ 34 | map | 地图
🔔 24 | bell | 铃铛, 铃
⚓ 30 | anchor | 锚
❤️ 28 | heart | 心, 爱心
🖼️ 36 | painting, picture frame | 油画, 画框
🧲 24 | magnet | 磁铁
🏆 32 | trophy | 奖杯
🧊 20 | ice cube | 冰块
🪞 36 | mirror | 镜子
🪔 24 | oil lamp | 油灯
🛹 32 | skateboard | 滑板
✏️ 26 | pencil, pen | 铅笔, 笔
✉️ 26 | letter, envelope | 信, 信封
💰 26 | money bag, treasure | 钱袋, 宝藏
🔨 26 | hammer | 锤子
⚙️ 26 | gear, cog | 齿轮
🧺 28 | basket, picnic, picnic basket | 篮子, 野餐
🧭 24 | compass | 指南针
⌛ 28 | hourglass | 沙漏
""",
}

BODIES: dict[str, tuple[str, str, str]] = {
    "🦊": ("#f4900c", "#fff3df", "bushy"),
    "🐺": ("#66757f", "#ccd6dd", "bushy"),
    "🦝": ("#657786", "#ccd6dd", "bushy"),
    "🐻": ("#c1694f", "#d99e82", "round"),
    "🐻‍❄️": ("#e1e8ed", "#f5f8fa", "round"),
    "🐼": ("#292f33", "#f0f3f5", "round"),
    "🐨": ("#99aab5", "#ccd6dd", "round"),
    "🦁": ("#ffac33", "#ffd983", "tuft"),
    "🐸": ("#77b255", "#a6d388", ""),
    "🐹": ("#ffcc4d", "#ffe8b6", "round"),
    "🦌": ("#c1694f", "#e6b08c", "round"),
    "🫎": ("#c1694f", "#a0563f", "round"),
    "🦄": ("#c1cdd5", "#e1e8ed", "bushy"),
    "🦓": ("#e1e8ed", "#f5f8fa", "tuft"),
    "🤖": ("#55acee", "#3b88c3", ""),
    "👽": ("#9ab0b8", "#ccd6dd", ""),
    "👩": ("#be1931", "#a0041e", "dress"),
    "👨": ("#226699", "#292f33", "coat"),
    "👧": ("#9266cc", "#744eaa", "dress"),
    "👦": ("#5c913b", "#226699", "coat"),
    "👶": ("#88c9f9", "#55acee", "coat"),
    "👵": ("#9266cc", "#553788", "dress"),
    "👴": ("#66757f", "#414042", "coat"),
    "👸": ("#f4abba", "#ea596e", "dress"),
    "🤴": ("#553788", "#292f33", "coat"),
    "🎅": ("#dd2e44", "#dd2e44", "coat"),
    "🧑‍🚀": ("#e1e8ed", "#ccd6dd", "coat"),
    "🧙‍♂️": ("#226699", "#1c5180", "dress"),
    "🧙‍♀️": ("#553788", "#3b2463", "dress"),
    "🧚": ("#f4900c", "#ffdc5d", "dress"),
    "🥷": ("#31373d", "#292f33", "coat"),
    "🧛": ("#292f33", "#14171a", "coat"),
    "🧟": ("#596b43", "#414042", "coat"),
    "🧝‍♀️": ("#5c913b", "#3e721d", "dress"),
    "🦸": ("#226699", "#dd2e44", "coat"),
    "👮": ("#226699", "#1c3f66", "coat"),
    "👩‍🍳": ("#f5f8fa", "#414042", "coat"),
    "👩‍🌾": ("#3b88c3", "#226699", "coat"),
    "👩‍⚕️": ("#f5f8fa", "#88c9f9", "coat"),
    "👩‍🎨": ("#9266cc", "#414042", "coat"),
    "👩‍🏫": ("#744eaa", "#414042", "coat"),
    "👨‍🚒": ("#f4900c", "#c1694f", "coat"),
    "🕵️": ("#66757f", "#414042", "coat"),
    "👷": ("#f4900c", "#226699", "coat"),
    "👰": ("#ffffff", "#f5f8fa", "dress"),
    "🤵": ("#292f33", "#292f33", "coat"),
    "💂": ("#be1931", "#292f33", "coat"),
}
"""Art that is only a head or a bust, and the body that is drawn below it: colour, second colour, cut."""

PLACES: dict[str, tuple[str, str]] = {
    "sea, ocean, waves, wave | 海, 大海, 海洋, 海面, 海上, 海浪, 大洋, 沧海, 碧海, 海水": ("sea", ""),
    "lake, river, pond, water, harbor, harbour, bay, canal, stream, creek, brook, lagoon | 湖, 湖水, 湖面, 湖边, 河, 河流, 河边, 江, 池塘, 水面, 港口, 江水, 江面, 江上, 江边, 寒江, 长河, 大河, 溪, 小溪, 溪流, 溪水, 河水, 河面, 流水, 碧水, 秋水, 西湖, 大江, 长江, 黄河": (
        "lake",
        "",
    ),
    "beach, seaside, shore, coast, seashore | 海滩, 沙滩, 海边, 海岸, 岸边": ("beach", ""),
    "island, tropical island | 岛, 小岛, 岛屿, 海岛": ("beach", ""),
    "meadow, grass, grassland, field, lawn, pasture, farm, countryside, prairie, savanna, savannah"
    ", wheat field, rice field, steppe | 草地, 草原, 草坪, 田野, 田, 牧场, 农场, 乡间, 原野, 草, 青草, 芳草, 草丛, 田间, 麦田, 稻田, 田园, 花田, 花海, 原上": (
        "meadow",
        "",
    ),
    "hill, hills, valley | 山坡, 山丘, 丘陵, 小山, 山谷": ("", "hills"),
    "park, garden, yard | 公园, 花园, 园林, 院子": ("garden", ""),
    "forest, woods, woodland, jungle, rainforest, bamboo forest | 森林, 树林, 林中, 丛林, 雨林, 林间, 松林, 深林, 枫林, 山林": (
        "",
        "forest",
    ),
    "mountain, mountains, alps, cliff, peak, himalaya, rocky mountains, summit | 山, 山脉, 高山, 群山, 山峰, 大山, 远山, 悬崖, 山水, 青山, 空山, 南山, 寒山, 茶山, 千山, 万山, 群峰, 山顶, 山上, 山间, 山中, 山头, 山脚, 山下, 黄山, 泰山, 峰, 山林, 山崖, 远峰, 重山, 万重山": (
        "",
        "mountains",
    ),
    "snow mountain, snowy mountain, snowy mountains, snow-capped mountain, snow-capped mountains, snow mountains"
    " | 雪山, 雪峰": ("snow", "mountains"),
    "snowfield, glacier, arctic, antarctica, north pole, ice, iceberg, tundra | 雪地, 雪原, 冰川, 冰面, 北极, 南极, 冰, 冰山": (
        "snow",
        "",
    ),
    "desert, dune, dunes, sahara, sand | 沙漠, 沙丘, 戈壁, 沙, 大漠, 沙海": ("desert", ""),
    "city, downtown, skyline, metropolis, cityscape, skyscrapers, new york, tokyo, shanghai, hong kong"
    " | 城市, 都市, 市区, 城里, 高楼, 高楼大厦, 上海, 东京, 纽约, 香港, 北京, 夜上海, 城中, 古城, 长安, 洛阳, 金陵, 重庆, 广州, 深圳": (
        "street",
        "city",
    ),
    "street, road, highway, avenue, alley, pavement, sidewalk, crossroads | 街道, 街, 马路, 道路, 公路, 大街, 街头, 路, 小巷, 巷子, 雨巷, 路边, 路上, 公路上, 胡同, 小路, 古道, 街边, 街角, 十字路口, 老街, 夜市": (
        "street",
        "",
    ),
    "space, outer space, galaxy, universe, cosmos, nebula, orbit | 太空, 宇宙, 银河, 星系, 外太空, 星云": ("space", ""),
    "moon surface, lunar surface, mars | 月球, 月球表面, 火星": ("moon", ""),
    "underwater, under the sea, undersea, seabed, coral reef, deep sea, aquarium, reef"
    " | 海底, 水下, 水底, 深海, 珊瑚礁, 水族馆, 海里, 水中, 水里": ("underwater", ""),
    "room, indoors, interior, living room, bedroom, kitchen, cafe, classroom, library, restaurant, office"
    ", cafeteria, coffee shop, bookstore, study | 房间, 室内, 客厅, 卧室, 厨房, 咖啡馆, 咖啡厅, 教室, 图书馆, 餐厅, 办公室, 屋里, 家里, 书房, 卧房, 屋内, 店里, 书店, 咖啡店, 车间": (
        "room",
        "",
    ),
    "window, windowsill | 窗, 窗户, 窗边, 窗前, 窗外, 窗台": ("room", "window"),
    "table, desk, wooden table, tabletop | 桌子, 桌, 桌上, 书桌, 木桌, 餐桌": ("room", "table"),
    "sky, clouds, heaven | 天空, 蓝天, 空中, 云海, 白云, 云朵, 天上, 青天, 碧空, 长空, 天际, 天边, 云端, 九天, 彩云, 云间, 云层": (
        "",
        "sky",
    ),
    "studio, portrait, headshot, close-up, closeup | 肖像, 头像, 特写, 半身像, 证件照, 人像": ("studio", "portrait"),
}
"""Words -> the ground and the backdrop; an empty one is left to the other words."""

TIMES: dict[str, str] = {
    "night, midnight, nighttime, moonlight, moonlit, moon, starry, starry night, starry sky, stars, evening, full moon"
    ", night sky | 夜, 夜晚, 晚上, 深夜, 午夜, 夜色, 夜景, 月光, 月亮, 月夜, 星空, 星星, 繁星, 明月, 圆月, 夜空, 月, 皓月, 残月, 弯月, 月色, 星河, 星光, 星夜, 夜里, 今夜, 半夜, 除夕": "night",
    "sunset, dusk, twilight, golden hour | 日落, 黄昏, 夕阳, 傍晚, 晚霞, 落日, 斜阳, 残阳, 夕照, 暮色, 暮": "sunset",
    "dawn, sunrise, morning, daybreak, early morning | 日出, 黎明, 清晨, 早晨, 早上, 朝阳, 朝霞, 晨光, 拂晓, 晨曦, 曙光, 旭日, 晓": "dawn",
    "day, daytime, noon, midday, sunny, sunshine, sun, sunlight, afternoon, blue sky"
    " | 白天, 中午, 正午, 晴天, 晴朗, 阳光, 太阳, 下午, 午后, 白日, 红日, 烈日, 晴空, 日光": "day",
}

WEATHERS: dict[str, str] = {
    "rain, rainy, raining, drizzle, shower, wet, raindrops, raindrop | 雨, 下雨, 雨天, 雨中, 雨夜, 细雨, 大雨, 小雨, 烟雨, 春雨, 夜雨, 雨水, 雨滴, 雨后, 微雨, 雨幕": "rain",
    "storm, stormy, thunder, thunderstorm, lightning, tempest | 暴风雨, 雷雨, 闪电, 风雨, 雷电, 风暴, 暴雨, 打雷": "storm",
    "snow, snowy, snowing, snowfall, blizzard, snowflake, snowflakes | 雪, 下雪, 雪天, 大雪, 飘雪, 雪花, 雪中, 暴风雪, 积雪, 白雪, 初雪, 风雪, 残雪, 江雪, 瑞雪, 落雪": "snow",
    "fog, foggy, mist, misty, haze, hazy | 雾, 大雾, 雾气, 薄雾, 迷雾, 雾中, 云雾, 晨雾, 雾霭, 云烟, 浓雾": "fog",
    "cloud, cloudy, overcast | 多云, 阴天, 乌云, 云": "clouds",
    "rainbow | 彩虹": "rainbow",
}

SEASONS: dict[str, str] = {
    "spring, springtime | 春天, 春季, 春, 春日, 三月, 二月, 四月, 早春, 暮春, 阳春": "spring",
    "summer | 夏天, 夏季, 夏, 夏日, 五月, 六月, 七月, 盛夏, 初夏, 仲夏": "summer",
    "autumn, fall, autumnal | 秋天, 秋季, 秋, 秋日, 深秋, 八月, 九月, 十月, 金秋, 初秋, 晚秋, 清秋": "autumn",
    "winter, christmas | 冬天, 冬季, 冬, 冬日, 圣诞, 圣诞节, 十一月, 十二月, 腊月, 正月, 寒冬, 隆冬, 严冬": "winter",
}

MANNERS: dict[str, str] = {
    "cyberpunk, neon, synthwave, vaporwave, futuristic, sci-fi | 赛博朋克, 霓虹, 霓虹灯, 科幻, 未来": "neon",
    "ink, ink painting, ink wash, sumi-e | 水墨, 水墨画, 国画, 中国画": "ink",
    "watercolor, watercolour, oil painting, impressionist, painterly, pastel | 水彩, 水彩画, 油画风格, 印象派, 油画风": "soft",
}

COLOURS: dict[str, str] = {
    "red, crimson, scarlet | 红, 红色, 红色的, 大红": "#dd2e44",
    "blue, azure | 蓝, 蓝色, 蓝色的": "#3b88e3",
    "light blue, sky blue, cyan, turquoise, teal | 浅蓝, 天蓝, 青色, 天蓝色, 浅蓝色": "#4fc3d9",
    "dark blue, navy | 深蓝, 深蓝色, 藏青色": "#1f3a7a",
    "green, emerald | 绿, 绿色, 绿色的": "#4f9d3a",
    "yellow | 黄, 黄色, 黄色的": "#ffcc30",
    "golden, gold | 金色, 金色的, 金": "#e8b321",
    "orange | 橙色, 橙, 橘色, 橙色的, 橘色的": "#f4860c",
    "purple, violet | 紫, 紫色, 紫色的": "#8e55cc",
    "pink | 粉, 粉色, 粉红, 粉红色, 粉色的, 粉红色的": "#f58bb0",
    "brown | 棕色, 褐色, 棕色的, 咖啡色, 棕": "#8f5a34",
    "black | 黑, 黑色, 黑色的": "#30343a",
    "white | 白, 白色, 白色的": "#f4f6f8",
    "gray, grey, silver | 灰, 灰色, 灰色的, 银色, 银色的": "#9aa6b0",
}

NUMBERS: dict[str, int] = {
    "a, an, one, single, lone | 一, 1": 1,
    "two, pair, both, twin | 二, 两, 俩, 双, 对": 2,
    "three, trio, few | 三, 几": 3,
    "four | 四, 些": 4,
    "five, several, some | 五": 5,
    "six | 六": 6,
    "seven, many, group, flock, herd, bunch | 七, 群, 许多, 很多, 好多, 一群, 成群": 7,
    "eight | 八": 8,
    "nine | 九": 9,
    "ten | 十": 10,
    "eleven | 十一": 11,
    "twelve, dozen, dozens, lots, swarm, school of | 十二, 一打, 无数": 12,
    "twenty | 二十": 20,
    "hundred, hundreds | 百, 一百": 24,
}
MAX_OF_A_KIND = 24
PLURAL = 3
"""The number of things that a plural without a number means."""

FLOWERS = 9
"""The number of flowers that a plural without a number means."""

PLURALS = {
    "people",
    "children",
    "kids",
    "family",
    "mice",
    "wolves",
    "geese",
    "cattle",
    "fireworks",
    "人们",
    "行人",
    "家人",
    "一家人",
    "家庭",
    "鱼群",
    "牛群",
    "羊群",
    "狼群",
    "驼队",
    "车流",
    "花",
    "鲜花",
    "野花",
    "花朵",
    "烟花",
}
"""Plurals that stand in the lists by themselves."""

CLOTHES = (
    "dress, shirt, coat, jacket, suit, robe, gown, clothes, kimono, skirt, sweater, hoodie, armor, armour, uniform"
    " | 裙子, 连衣裙, 衬衫, 外套, 大衣, 西装, 长袍, 衣服, 和服, 旗袍, 毛衣, 制服, 盔甲, 裙, 汉服"
)
"""Clothes, which pass their colour to the person who wears them."""

RIDING = (
    "riding, rides, ride, on top of, sitting on, sits on, standing on, perched on, atop, riding on, sleeping on, lying on"
    " | 骑着, 骑, 骑在, 坐在, 站在, 停在, 趴在, 躺在"
)
ABOVE = "over, above, flying over | 上空, 上方"

NOT = "no, without, not, except | 没有, 不要, 无, 别, 除了"

FILLERS = """
a an the and or of in on at by with to from for into onto over under above below near beside between behind around
across through along upon inside outside beneath against among amid toward towards is are was were be been being am
it its this that these those there here he she his her him they them their we our us you your i me my who whom which
what where when while as than then so very much more most just also too not but if up down out off all each every any
another other own same such only even ever again still yet both either neither can could will would should may might
must do does did doing done have has had having get gets make makes made let lets please draw paint show picture image
photo photograph painting drawing illustration sketch art artwork render rendering scene view background foreground
style mood lighting light dark bright beautiful cute lovely pretty nice adorable little small tiny big large huge
giant great tall high low long short old young new happy sad fluffy soft warm cold cozy cosy calm quiet peaceful serene
dramatic epic majestic magical mystical fantasy dreamy surreal realistic photorealistic hyperrealistic detailed
intricate cinematic stunning amazing gorgeous wonderful colorful colourful vibrant vivid minimalist minimal simple
elegant masterpiece best quality high-quality ultra hd uhd resolution sharp focus 4k 8k trending artstation unreal
octane bokeh depth composition wide angle shot close far distant distance front back side top bottom left right
middle center centre full body looking look sitting sits sit standing stands stand walking walks walk running runs run
sleeping sleeps sleep lying flying flies fly swimming swims swim playing plays play jumping jumps jump eating eats
holding holds wearing wears dressed driving drives floating floats sailing sails shining shines glowing growing resting
one's time filled full covered surrounded together alone next them there's it's
cartoon anime vector flat digital concept wallpaper
"""
"""English words that a picture need not show by a thing of their own."""

FILLERS_ZH = """
的 了 着 过 在 是 和 与 及 或 有 又 也 都 很 非常 十分 最 更 这 那 这个 那个 它 他 她 我 你 们 里 里面 中 上 下 上面 下面
旁 旁边 边 前 前面 后 后面 间 之间 外 外面 内 左 右 左边 右边 中间 远处 近处 远方 周围 一边 一起 从 到 向 往 把 被 让 给 用
以 为 而 但 并 且 就 还 只 不 个 条 匹 头 艘 辆 朵 棵 座 架 位 名 颗 杯 本 张 栋 幢 块 盘 瓶 束 串 盏 场 轮 幅 片 只 支 枝 根
件 套 碗 种 滴 道 层 排 可爱 美丽 漂亮 好看 小小 小 大 巨大 高 高大 长 短 老 年轻 新 古老 快乐 开心 悲伤 安静 宁静 温暖 温馨
寒冷 冷 热 明亮 黑暗 梦幻 唯美 精美 精致 精细 细腻 写实 真实 逼真 高清 超清 超高清 画质 高画质 细节 电影感 电影 大片 光影 光线
光 氛围 氛围感 风格 画风 插画 插图 绘画 画 一幅画 图 图片 照片 摄影 壁纸 背景 前景 构图 场景 画面 景色 风景 风光 美景
请 请画 画一 生成 绘制 一下 帮我 想要 飞 飞翔 飞过 游 游泳 游动 跑 奔跑 走 走路 行走 漫步 坐 坐着 站 站着 躺 趴 睡觉 睡 玩
玩耍 跳 吃 喝 看 看着 望着 拿着 穿着 穿 戴着 开着 开 盛开 行驶 航行 漂浮 漂 停 闪耀 发光 照 照耀 升起 落下 充满 布满 覆盖
正在 慢慢 轻轻 静静 卡通 动漫 二次元 极简 扁平 治愈 治愈系 毛茸茸 萌 超级 超 特别 一样 像 如 般 时 时候 时分 天 处 方 面 撑 打 打着 撑着 风景画 一个 一只 两个
"""

AMBIGUOUS = {"orange": "🍊", "violet": "🪻"}
"""Colour words that are a thing where no thing follows them."""
